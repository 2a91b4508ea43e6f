"""From a transformer or a ranker to ranked documents."""

import copy

import numpy as np
from sklearn.base import clone

from sklearn_llm2vec.evaluation._features import (
    check_transformer,
    features_of,
    finite_vectors,
    take_rows,
    template_parameter,
    unit_rows,
    with_template,
)
from sklearn_llm2vec.evaluation._ranking import search_scores, search_vectors


def search_by_scores(ranker, queries, documents, templates, depth, caller):
    """Blocks of ranked documents by a ranker's scores."""
    if templates != (None, None):
        raise ValueError(
            f"{caller} sets templates in transformers only. Got one for "
            f"{type(ranker).__name__}: leave out 'query_template' and "
            "'document_template'."
        )
    fitted = clone(ranker).fit(documents)

    def score(rows):
        asked = take_rows(queries, range(*rows.indices(len(queries))))
        scores = fitted.score_documents(asked)
        return _check_document_scores(scores, (len(asked), len(documents)), caller)

    return search_scores(score, len(queries), len(documents), depth)


def search_by_vectors(transformer, queries, documents, templates, depth, caller):
    """Blocks of ranked documents by the cosine of their vectors with the queries'."""
    check_transformer(transformer, caller)
    query_template, document_template = templates
    documents_side = with_template(transformer, document_template, caller)
    fitted, features = features_of(documents_side, documents)
    found = unit_rows(finite_vectors(features, caller))
    if query_template is None and document_template is not None:
        name = template_parameter(transformer, caller)
        fitted = copy.deepcopy(fitted).set_params(
            **{name: transformer.get_params()[name]}
        )
    asked = with_template(fitted, query_template, caller).transform(queries)
    return search_vectors(unit_rows(finite_vectors(asked, caller)), found, depth)


def _check_document_scores(scores, shape, caller):
    """A ranker's scores as floats, which can be sorted."""
    scores = np.asarray(scores)
    if scores.shape != shape or scores.dtype.kind not in "fiub":
        raise ValueError(
            f"{caller} expects an array of numbers of shape {shape}, queries by "
            f"documents, from 'score_documents'. Got one of shape {scores.shape} and "
            f"dtype {scores.dtype}."
        )
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError(
            f"{caller} expects no NaN from 'score_documents'. Give documents that "
            "aren't found a score of minus infinity."
        )
    return scores
