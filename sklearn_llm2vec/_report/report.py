"""``LayerPoolingReport``: a search over layers and poolings as an HTML page."""

import html
from pathlib import Path

from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._common.whole_files import check_file, whole_file
from sklearn_llm2vec._report.facts import read_facts
from sklearn_llm2vec._report.page import render


@public_in("sklearn_llm2vec")
class LayerPoolingReport:
    """Report of a search over layers and poolings, as a single HTML page.

    The page contains the heat map of layers and poolings, the scores by depth, the cost
    of each layer, what the search stored, and Python code that builds the best candidate.
    It is a single file that loads nothing from elsewhere, so you can mail it, archive it
    and open it offline. It doesn't contain any of the texts. In a notebook, a report is
    displayed as the page.

    Create a report with `from_search`.

    Parameters
    ----------
    html : str
        The page.
    code : str
        Python code that builds, scores and fits the best candidate.
    best : dict
        ``panel``, ``layer``, ``pooling`` and ``score`` of the best combination.

    Attributes
    ----------
    html, code : str
    best_ : dict

    See Also
    --------
    layer_pooling_grid : The grid of a search to report.
    LayerPoolingDisplay : The heat map alone, with matplotlib.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_llm2vec import (
    ...     LayerPoolingReport, LLMEmbeddingTransformer, layer_pooling_grid)
    >>> pipe = make_pipeline(LLMEmbeddingTransformer(), RidgeClassifier())
    >>> grid = layer_pooling_grid(pipe, layers=[0, 3], poolings=["mean"])
    >>> texts = ["a good book", "a bad film", "good", "bad"]
    >>> search = GridSearchCV(pipe, grid, cv=2).fit(texts, [1, 0, 1, 0])
    >>> report = LayerPoolingReport.from_search(search)
    >>> sorted(report.best_)
    ['layer', 'panel', 'pooling', 'score']
    >>> report.save(Path(tempfile.mkdtemp(), "search.html")).name
    'search.html'
    """

    def __init__(self, *, html, code, best):
        self.html = html
        self.code = code
        self.best_ = best

    @classmethod
    def from_search(cls, search, *, metric=None, prefix=None, comparisons=None):
        """Make the report of a fitted search.

        The scores are those of `LayerPoolingDisplay.from_search`. The page describes the
        candidate that the search chose as its best. If it chose none (``refit=False``),
        or if it chose by a metric that isn't in `metric`, the page describes the best
        candidate by the first metric.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV or similar
            A fitted search over the `layer` and the `pooling` of an
            `LLMEmbeddingTransformer`. If the `model` was searched, too, each model has
            its own panels.
        metric : str, list of str or None, default=None
            Which metrics to report, if there are several. None stands for all of them,
            beginning with the metric of the refit.
        prefix : str or None, default=None
            Selects one of several transformers. It is the part of the parameter's name
            before ``__layer``.

        comparisons : dict of str to array-like of shape (n_folds,) or None, default=None
            Scores, by name, to compare the best candidate with. They must be of the first
            metric. For example, ``cross_val_score(search, X, y)`` repeats the choice
            inside each fold and shows what to expect on new rows. The page shows means
            and 95 % intervals.

        Returns
        -------
        LayerPoolingReport

        Raises
        ------
        NotFittedError
            For a search that is not fitted.
        ValueError
            If the search wasn't over the layers and poolings of an
            `LLMEmbeddingTransformer`, doesn't have the metric, or has no score.
        """
        facts = read_facts(search, metric, prefix, comparisons)
        panel = facts.panels[0]
        row, column = panel.best
        best = {
            "panel": panel.name,
            "layer": panel.layer_values[row],
            "pooling": panel.poolings[column],
            "score": float(panel.scores[row, column]),
        }
        return cls(html=render(facts), code=facts.code, best=best)

    def save(self, path):
        """Write the page. An existing file remains until the new one is complete.

        Parameters
        ----------
        path : path-like
            The file, in an existing folder.

        Returns
        -------
        Path
            The absolute path of the file. To open it in a browser, use its ``as_uri()``.

        Raises
        ------
        IsADirectoryError, FileNotFoundError
            If `path` is a folder, or in a folder that doesn't exist.
        OSError
            If the file can't be written.
        ValueError
            If the name of the file doesn't end in ``.html``.
        """
        path = Path(path)
        check_file(path, f"{type(self).__name__}.save", "report.html")
        if path.suffix.lower() != ".html":
            raise ValueError(
                f"The 'path' parameter of {type(self).__name__}.save must end in .html. "
                f"Got {str(path)!r}: browsers recognize a page by this ending."
            )
        with whole_file(path) as file:
            file.write(self.html.encode())
        return path.absolute()

    def __repr__(self):
        best = self.best_
        return (
            f"<{type(self).__name__}: layer {best['layer']}, {best['pooling']}, "
            f"{best['score']:.3f}; save(path) writes the page>"
        )

    def _repr_html_(self):
        """The page in a frame: its style and the notebook's don't meet."""
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" sandbox="allow-scripts" '
            'allow="clipboard-write" title="Report of a search over layer and pooling" '
            'style="display: block; width: 100%; height: 720px; border: 1px solid #8884; '
            'border-radius: 4px; resize: vertical; overflow: auto"></iframe>'
        )
