"""Python code that builds a candidate of a search, scores and fits it."""

from sklearn_llm2vec._report.candidates import build_candidate
from sklearn_llm2vec._report.python_source import SourceWriter


def candidate_code(search, params, start, metric):
    """Python that builds the best candidate and scores it; names to fill in."""
    # `keep` says what else a pass stores: a search needs it, one candidate doesn't.
    params = {name: value for name, value in params.items() if name != f"{start}keep"}
    writer = SourceWriter()
    lines = [writer.assignment("model", build_candidate(search, params))]
    if not hasattr(search, "n_resources_"):  # a halving scores on parts of the rows
        lines += [
            _scoring_code(writer, search, metric),
            'print(f"{scores.mean():.3f} ± {scores.std():.3f}")',
        ]
    lines = ["# X, y: the rows of the search", *lines, "model.fit(X, y)"]
    return "\n".join([writer.head(), "", *lines, ""]), list(writer.blanks)


def _scoring_code(writer, search, metric):
    """Python that scores ``model`` on the folds of the search."""
    rows, values, scoring = ["model", "X", "y"], {}, search.scoring
    if _wants_groups(search.cv):
        name = writer.blank("groups", "the groups of the rows")
        rows.append(f"groups={name}")
    if search.cv is None or isinstance(search.cv, int) or hasattr(search.cv, "split"):
        values["cv"] = search.n_splits_ if search.cv is None else search.cv
    else:
        what = "the splits of the search: pairs of training and test rows"
        rows.append(f"cv={writer.blank('cv', what)}")
    function, item = "cross_val_score", ""
    if search.multimetric_ and callable(scoring):  # it alone gives all the metrics
        function, item = "cross_validate", f"[{f'test_{metric}'!r}]"
    elif search.multimetric_:
        scoring = scoring[metric] if isinstance(scoring, dict) else metric
    if scoring is not None:
        values["scoring"] = scoring
    writer.use("sklearn.model_selection", function)
    return writer.call("scores = ", function, rows, values) + item


def _wants_groups(cv):
    """Whether a splitter of scikit-learn, such as GroupKFold, asks for groups."""
    if not hasattr(cv, "get_metadata_routing"):
        return False
    requests = cv.get_metadata_routing()
    return getattr(requests, "split", None) is not None and bool(
        requests.split.requests.get("groups")
    )
