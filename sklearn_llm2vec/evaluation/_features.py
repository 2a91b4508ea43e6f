"""From a transformer and rows to features: who is fitted on what, and rows by number.

Any transformer of scikit-learn will do.
"""

import copy
from collections.abc import Mapping, Set

import narwhals as nw
import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import normalize
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_llm2vec._text.columns import read_native


def check_transformer(transformer, caller):
    """Refuse what can't be cloned and asked for features.

    Raises
    ------
    TypeError
    """
    if isinstance(transformer, type) or not (
        hasattr(transformer, "transform") and hasattr(transformer, "get_params")
    ):
        raise TypeError(
            f"The 'transformer' parameter of {caller} must be a transformer of "
            "scikit-learn or a pipeline that ends in one. Got "
            f"{_name_of(transformer)} instead."
        )


def _name_of(thing):
    if isinstance(thing, type):
        return f"the class {thing.__name__}, without brackets behind it,"
    return type(thing).__name__


def learns(transformer):
    """Whether `transform` depends on what `fit` saw, as far as its tags tell.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
    >>> from sklearn_llm2vec import LLMEmbeddingTransformer
    >>> from sklearn_llm2vec.evaluation._features import learns
    >>> learns(TfidfVectorizer()), learns(HashingVectorizer())
    (True, False)
    >>> learns(LLMEmbeddingTransformer())
    False
    """
    return get_tags(transformer).requires_fit


def fit_features(transformer, X, y=None):
    """Fit a clone; return it, and the features of the same rows.

    Parameters
    ----------
    transformer : estimator with `transform`
        It stays as it is.
    X : any input of the transformer
    y : array-like or None, default=None

    Returns
    -------
    fitted : estimator
    features : array, sparse matrix or frame
    """
    fitted = clone(transformer)
    # A FrozenEstimator has `fit` and `transform` only.
    if hasattr(fitted, "fit_transform"):
        return fitted, fitted.fit_transform(X, y)
    fitted.fit(X, y)
    return fitted, fitted.transform(X)


def features_of(transformer, X):
    """Features of rows that are no training data; return the fitted transformer too.

    A transformer that is fitted, or learns nothing, is used as it is: what it learned
    elsewhere counts. Of another one, a clone is fitted on `X`.

    Parameters
    ----------
    transformer : estimator with `transform`
    X : any input of the transformer

    Returns
    -------
    fitted : estimator
    features : array, sparse matrix or frame
    """
    if learns(transformer):
        try:
            check_is_fitted(transformer)
            # A pipeline's answer is that of its last step, which may learn nothing.
            transformer.transform(take_rows(X, [0]))
        except NotFittedError:
            return fit_features(transformer, X)
    return transformer, transformer.transform(X)


def finite_vectors(features, caller):
    """Vectors as a float array or CSR matrix of two dimensions, without NaN or infinity.

    Parameters
    ----------
    features : array, sparse matrix or frame
        What `transform` gave.
    caller : str
        Who the error messages speak of.

    Returns
    -------
    ndarray or sparse matrix of shape (n_rows, n_features)

    Raises
    ------
    ValueError
        For NaN and infinity, and features that aren't numbers.
    """
    if issparse(features):
        vectors = features.tocsr()
        numbers = vectors.data
    else:
        vectors = numbers = np.asarray(features)
    if vectors.ndim != 2 or numbers.dtype.kind not in "fiub":
        raise ValueError(
            f"{caller} expects features that are numbers, one row per text. Got an "
            f"array of shape {vectors.shape} and dtype {numbers.dtype} from the "
            "transformer."
        )
    if numbers.dtype == np.float16:
        vectors = vectors.astype(np.float32)  # squares of 256 and more are infinite
    elif numbers.dtype.kind != "f":
        vectors = vectors.astype(np.float64)
    finite = np.isfinite(numbers)
    if not finite.all():
        n_rows = "" if issparse(features) else _where(~finite.all(axis=1))
        raise ValueError(
            f"{caller} expects finite features. Got NaN or infinity from the "
            f"transformer{n_rows}. For missing texts, choose missing='zero' or "
            "'empty', or leave them out."
        )
    return vectors


def _where(wrong):
    return f" in {wrong.sum()} of {len(wrong)} rows, the first is row {wrong.argmax()}"


def unit_rows(vectors):
    """Rows scaled to length one, so that dot products are cosines; a zero row stays.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_llm2vec.evaluation._features import unit_rows
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    return normalize(vectors)


def paired_products(first, second):
    """Dot product of each row of one with that of the other."""
    if hasattr(first, "multiply"):  # sparse
        return np.asarray(first.multiply(second).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", first, second, dtype=np.float64)


# ---------------------------------------------------------------------------------
# Templates


def with_template(transformer, template, caller):
    """A copy with another template, fitted if it was; the same one for None.

    Raises
    ------
    TypeError, ValueError
        For what is no template, or a transformer without one.
    """
    if template is None:
        return transformer
    if not isinstance(template, str):
        raise TypeError(
            f"The templates of {caller} must be str or None. Got {template!r} instead."
        )
    name = template_parameter(transformer, caller)
    # No clone: what a PCA or an adaptation learned must serve both sides.
    return copy.deepcopy(transformer).set_params(**{name: template})


def template_parameter(transformer, caller):
    """Name of the one parameter, of a step too, that is the template."""
    names = [
        name
        for name in transformer.get_params()
        if name == "template" or name.endswith("__template")
    ]
    if len(names) != 1:
        raise ValueError(
            f"{caller} expects a transformer with one 'template' parameter to set. "
            f"Got {type(transformer).__name__} with {len(names)} of them: leave out "
            "'query_template' and 'document_template'."
        )
    return names[0]


# ---------------------------------------------------------------------------------
# Rows


def count_rows(X, caller):
    """Number of rows of any input; refuses a bare str and its relatives.

    Raises
    ------
    TypeError, ValueError
        In the words that the transformer itself would use.
    """
    native = read_native(X, caller)
    # The items of a dict or a set are no rows.
    if not hasattr(native, "__len__") or isinstance(native, Mapping | Set):
        raise TypeError(
            f"{caller} expects a list, array, Series or frame, got {type(X).__name__}."
        )
    if len(native) == 0:
        raise ValueError(f"{caller} expects at least one text. Got none.")
    return len(native)


def take_rows(X, rows):
    """The rows with these numbers, in their order, of the kind that `X` is.

    Examples
    --------
    >>> from sklearn_llm2vec.evaluation._features import take_rows
    >>> take_rows(["a", "b", "c"], [2, 0])
    ['c', 'a']
    """
    native = nw.from_native(X, allow_series=True, pass_through=True)
    if isinstance(native, (nw.DataFrame, nw.Series)):
        return native[list(map(int, rows))].to_native()
    if issparse(X):
        X = X.tocsr()  # not all kinds have rows to take
    if hasattr(X, "shape"):
        return X[np.asarray(rows, dtype=np.intp)]
    return [X[int(row)] for row in rows]


def as_list(X, caller):
    """One text a row, as a list.

    Raises
    ------
    TypeError, ValueError
        For what holds no texts, or several columns.
    """
    native = read_native(X, caller)
    count_rows(X, caller)
    if isinstance(native, nw.DataFrame):
        if len(native.columns) != 1:
            raise ValueError(
                f"{caller} expects one text per row. Got a frame with the columns "
                f"{native.columns}: choose one."
            )
        return native[native.columns[0]].to_list()
    if isinstance(native, nw.Series):
        return native.to_list()
    if getattr(X, "ndim", 1) != 1:
        raise ValueError(
            f"{caller} expects one text per row. Got an array of shape {X.shape}."
        )
    return X.tolist() if hasattr(X, "tolist") else list(X)
