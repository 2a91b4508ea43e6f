"""The heat map of scores over layers and poolings.

``LayerPoolingDisplay`` takes a fitted search or plain scores and draws one panel per
model and metric. matplotlib is imported when something is drawn.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._search.heat_map import (
    draw_scores,
    draw_values,
    mark_best,
    panel_title,
)
from sklearn_llm2vec._search.score_tables import (
    choice_tables,
    drop_shared_metric,
    panel_name,
    read_search,
    table_of_array,
    table_of_cells,
)

MOST_CELLS_WITH_VALUES = 100
WIDEST_FIGURE = 16  # inches; panels that need more stand one under the other


@public_in("sklearn_llm2vec")
class LayerPoolingDisplay:
    """Heat map of scores over layers and poolings.

    Create a display with `from_search`, `from_transformer` or `from_scores`. It stores
    the scores, so that `plot` can draw them again in a different way.

    Parameters
    ----------
    tables : dict of str to ScoreTable
        One table for each panel, by name of the panel.

    Attributes
    ----------
    best_ : dict or None
        ``panel``, ``layer``, ``pooling`` and ``score`` of the best cell of all panels, or
        None if there is no score. Several metrics can't be compared, so only the first
        one is used.
    axes_ : ndarray of Axes
        One per panel.
    figure_ : Figure
        The figure that contains them.
    images_, texts_, best_markers_ : list
        Artists of each panel: the heat map, the array of the values written into the
        cells (None if there are too many), and the tuple of the outline and the star of
        the best cell (None if there is no score).
    ax_, im_, text_, best_marker_ : artists
        The artists of the first panel.

    See Also
    --------
    layer_pooling_grid : The grid of a search to draw.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_llm2vec import LayerPoolingDisplay
    >>> display = LayerPoolingDisplay.from_scores(
    ...     [[0.71, 0.66], [0.80, 0.84], [0.78, 0.79]],
    ...     poolings=["mean", "last"],
    ...     metric="accuracy",
    ... )
    >>> display.best_
    {'panel': 'accuracy', 'layer': 1, 'pooling': 'last', 'score': 0.84}
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, tables):
        self.tables = tables

    @property
    def best_(self):
        """Panel, layer, pooling and score of the best cell, or of the chosen one."""
        first_metric = next(iter(self.tables.values())).metric
        bests = [
            {
                "panel": name,
                "layer": table.layers[table.best[0]],
                "pooling": table.poolings[table.best[1]],
                "score": float(table.scores[table.best]),
            }
            for name, table in self.tables.items()
            if table.metric == first_metric and table.best is not None
        ]
        return max(bests, key=lambda best: best["score"], default=None)

    # --- from a search, from scores ---------------------------------------------------

    @classmethod
    def from_search(cls, search, *, metric=None, prefix=None, ax=None, **kwargs):
        """Draw a fitted search.

        Each cell shows the mean test score of its layer and pooling. If other parameters
        were searched, too, it is the score of the best candidate with this layer and
        pooling. In a successive halving, the scores of later iterations, which used more
        data, take precedence over better scores of earlier iterations.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV or dict of these
            A fitted search over a `layer` and a `pooling`. If the `model` was searched,
            too, each model has its own panel. With a dict of searches by name, each
            search has its own panel.
        metric : str, list of str or None, default=None
            Which metrics to draw, if there are several. None stands for all of them, each
            in its own panel.
        prefix : str or None, default=None
            Selects one of several transformers. It is the part of the parameter's name
            before ``__layer``.
        ax : Axes, array of Axes or None, default=None
            Where to draw, with one Axes per panel. None creates a figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        LayerPoolingDisplay

        Raises
        ------
        NotFittedError
            For a search that is not fitted.
        ValueError
            If the search wasn't over layers and poolings, or doesn't have the metric.
        """
        searches = search if isinstance(search, Mapping) else {"": search}
        if not searches:
            raise ValueError(
                "The 'search' parameter of LayerPoolingDisplay.from_search must be a "
                "fitted search or a dict of them. Got an empty dict instead."
            )
        tables = {}
        for name, one in searches.items():
            for parts, table in read_search(one, metric, prefix, cls.__name__):
                tables[panel_name([str(name), *parts], table.metric)] = table
        return cls(tables=drop_shared_metric(tables)).plot(ax, **kwargs)

    @classmethod
    def from_transformer(cls, transformer, *, ax=None, **kwargs):
        """Draw how `fit` chose a "cv" layer and pooling, in a panel for each column.

        Parameters
        ----------
        transformer : LLMEmbeddingTransformer
            A transformer that was fitted with ``layer="cv"``, ``pooling="cv"`` or both.
        ax : Axes, array of Axes or None, default=None
            Where to draw, with one Axes per panel. None creates a figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        LayerPoolingDisplay
            Each cell shows the share of the target's variance that is predicted. The
            marked cell was chosen.

        Raises
        ------
        NotFittedError
            For a transformer whose `fit` didn't choose a layer or pooling.
        """
        check_is_fitted(
            transformer,
            "choice_",
            msg="This %(name)s instance has no 'choice_' to draw: call 'fit' with "
            "layer='cv' or pooling='cv' first.",
        )
        return cls(tables=choice_tables(transformer.choice_)).plot(ax, **kwargs)

    @classmethod
    def from_scores(
        cls, scores, *, layers=None, poolings=None, metric="score", ax=None, **kwargs
    ):
        """Draw scores that were computed in another way.

        Parameters
        ----------
        scores : array of shape (n_layers, n_poolings), or dict
            A dict maps (layer, pooling) to scores, or names of panels to arrays or dicts.
            NaN or a missing key means that there is no score.
        layers : sequence of int, float or tuple, or None, default=None
            Layers of the array's rows. None counts them from 0. With a dict, the layers
            to draw, in order.
        poolings : sequence of str or None, default=None
            Poolings of the array's columns. With five columns, None stands for mean,
            weighted_mean, last, first and max. With a dict, the poolings to draw.
        metric : str, default="score"
            Name of the scores. Greater scores are better.
        ax : Axes, array of Axes or None, default=None
            Where to draw, with one Axes per panel. None creates a figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        LayerPoolingDisplay

        Raises
        ------
        ValueError
            If the scores don't fit the layers and poolings.
        """
        panels = scores if _is_dict_of_panels(scores) else {metric: scores}
        tables = {}
        for name, panel in panels.items():
            if isinstance(panel, Mapping):
                ranked = [
                    (layer, pooling, (0, float(score), -1))
                    for (layer, pooling), score in panel.items()
                ]
                table = table_of_cells(ranked, metric, layers, poolings)
            else:
                table = table_of_array(panel, metric, layers, poolings)
            tables[str(name)] = table
        return cls(tables=tables).plot(ax, **kwargs)

    # --- drawing ----------------------------------------------------------------------

    def plot(
        self,
        ax=None,
        *,
        cmap="viridis",
        colorbar=True,
        include_values="auto",
        values_format=".3f",
    ):
        """Draw the heat maps.

        Panels with the same metric share one scale of colors, so that models can be
        compared.

        Parameters
        ----------
        ax : Axes, array of Axes or None, default=None
            Where to draw, with one Axes per panel. None creates a figure.
        cmap : str or Colormap, default="viridis"
            Colors from the lowest to the highest score. The default is suitable for
            color-blind readers.
        colorbar : bool, default=True
            Whether to draw a color bar for each metric.
        include_values : "auto" or bool, default="auto"
            Whether to write the scores in the cells. "auto" does so for up to 100 cells.
        values_format : str, default=".3f"
            Format of the written scores.

        Returns
        -------
        self : LayerPoolingDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        _check_matplotlib()
        self.axes_ = self._make_axes(ax)
        self.figure_ = self.axes_[0].figure
        self.images_, self.texts_, self.best_markers_ = [], [], []
        limits = self._color_limits()
        for panel, (name, table) in zip(self.axes_, self.tables.items(), strict=True):
            image = draw_scores(panel, table, cmap, limits[table.metric])
            show_values = include_values
            if include_values == "auto":
                show_values = table.scores.size <= MOST_CELLS_WITH_VALUES
            texts = None
            if show_values:
                texts = draw_values(panel, table, image, values_format)
            self.images_.append(image)
            self.texts_.append(texts)
            self.best_markers_.append(mark_best(panel, table, bool(show_values)))
            title = panel_title(name, table, values_format)
            panel.set_title(title, loc="left", fontsize="medium")
        if colorbar:
            self._draw_colorbars()
        self.ax_, self.im_ = self.axes_[0], self.images_[0]
        self.text_, self.best_marker_ = self.texts_[0], self.best_markers_[0]
        return self

    def _make_axes(self, ax):
        """Array of one Axes per panel: the user's, or those of a new figure."""
        n_panels = len(self.tables)
        if ax is not None:
            axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
            if len(axes) != n_panels:
                expected = f"one Axes for each of the {n_panels} panels"
                raise refused("ax", expected, len(axes), of="LayerPoolingDisplay")
            return axes
        import matplotlib.pyplot as plt

        # Inches that a cell with a written value needs, and room for labels and bar.
        width = max(0.56 * len(t.layers) + 2.6 for t in self.tables.values())
        height = max(0.46 * len(t.poolings) + 1.5 for t in self.tables.values())
        width = min(max(width, 4.2), WIDEST_FIGURE)
        stacked = width * n_panels > WIDEST_FIGURE
        rows, columns = (n_panels, 1) if stacked else (1, n_panels)
        _, axes = plt.subplots(
            rows,
            columns,
            figsize=(width * columns, height * rows),
            squeeze=False,
            layout="constrained",
        )
        return axes.ravel()

    def _color_limits(self):
        """Lowest and highest score of each metric."""
        limits = {}
        for table in self.tables.values():
            known = limits.setdefault(table.metric, [])
            known.extend(table.scores[np.isfinite(table.scores)])
        return {
            m: (min(known, default=0), max(known, default=1))
            for m, known in limits.items()
        }

    def _draw_colorbars(self):
        """Draw one color bar for all panels of a metric."""
        for metric in dict.fromkeys(table.metric for table in self.tables.values()):
            members = [
                i for i, t in enumerate(self.tables.values()) if t.metric == metric
            ]
            self.figure_.colorbar(
                self.images_[members[0]],
                ax=[self.axes_[i] for i in members],
            ).outline.set_visible(False)


def _is_dict_of_panels(scores):
    """Whether the dict's values are panels, not scores."""
    return isinstance(scores, Mapping) and any(
        isinstance(value, Mapping) or np.ndim(value) > 0 for value in scores.values()
    )


def _check_matplotlib():
    try:
        import matplotlib  # noqa: F401
    except ImportError as e:
        raise not_installed("LayerPoolingDisplay.plot", "matplotlib", "plot") from e
