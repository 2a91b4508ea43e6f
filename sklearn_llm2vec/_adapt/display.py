"""The loss of an adaptation by step, as a scikit-learn Display.

matplotlib is imported when something is drawn.
"""

import numpy as np
from sklearn.exceptions import NotFittedError

from sklearn_llm2vec._common.checks import refused
from sklearn_llm2vec._common.extras import not_installed
from sklearn_llm2vec._common.public import public_in


@public_in("sklearn_llm2vec")
class AdaptationDisplay:
    """Loss of `adapt` by step, with one panel for each stage.

    Create a display with `from_estimator` or `from_history`.

    Parameters
    ----------
    history : dict of str to list
        An ``adaptation_history_``: ``stage``, ``step``, ``loss`` and ``learning_rate``,
        with one entry for each step.

    Attributes
    ----------
    axes_ : ndarray of Axes
        One for each stage.
    figure_ : Figure
    lines_ : list of (Line2D, Line2D)
        For each stage, the loss of the steps and its running mean.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_llm2vec import AdaptationDisplay
    >>> display = AdaptationDisplay.from_history({
    ...     "stage": ["mntp", "mntp", "simcse"],
    ...     "step": [1, 2, 1],
    ...     "loss": [5.1, 4.2, 2.0],
    ...     "learning_rate": [1e-3, 5e-4, 3e-4],
    ... })
    >>> [axes.get_title() for axes in display.axes_]
    ['mntp', 'simcse']
    >>> plt.close(display.figure_)
    """

    def __init__(self, *, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs):
        """Draw the adaptation of a fitted transformer.

        Parameters
        ----------
        estimator : LLMEmbeddingTransformer
            Fitted with `adapt`.
        ax : Axes, array of Axes or None, default=None
            One Axes for each stage. None creates a figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        AdaptationDisplay

        Raises
        ------
        NotFittedError
            For a transformer that wasn't adapted.
        """
        if not hasattr(estimator, "adaptation_history_"):
            raise NotFittedError(
                "AdaptationDisplay.from_estimator needs an LLMEmbeddingTransformer that "
                f"was fitted with 'adapt'. Got {type(estimator).__name__} without an "
                "adaptation_history_ instead."
            )
        return cls.from_history(estimator.adaptation_history_, ax=ax, **kwargs)

    @classmethod
    def from_history(cls, history, *, ax=None, **kwargs):
        """Draw an ``adaptation_history_``.

        Parameters
        ----------
        history : dict of str to list
            ``stage``, ``step`` and ``loss``, with one entry for each step.
        ax : Axes, array of Axes or None, default=None
            One Axes for each stage. None creates a figure.
        **kwargs : dict
            Passed to `plot`.

        Returns
        -------
        AdaptationDisplay

        Raises
        ------
        ValueError
            If entries are missing or there is no step.
        """
        absent = [name for name in ("stage", "step", "loss") if name not in history]
        if absent or not len(history["step"]):
            raise refused(
                "history",
                "a dict with the lists 'stage', 'step' and 'loss' of at least one step",
                sorted(history),
                of="AdaptationDisplay.from_history",
            )
        return cls(history=history).plot(ax, **kwargs)

    def plot(self, ax=None, *, window=None):
        """Draw the curves.

        Parameters
        ----------
        ax : Axes, array of Axes or None, default=None
            One Axes for each stage. None creates a figure.
        window : int or None, default=None
            Number of steps in the running mean. None is a twentieth of the stage.

        Returns
        -------
        self : AdaptationDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            who = "AdaptationDisplay.plot"
            raise not_installed(who, "matplotlib", "plot") from error

        stages = list(dict.fromkeys(self.history["stage"]))
        if ax is None:
            _, ax = plt.subplots(
                1, len(stages), figsize=(4.6 * len(stages), 3.2), layout="constrained"
            )
        self.axes_ = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(self.axes_) != len(stages):
            expected = f"one Axes for each of the {len(stages)} stages"
            raise refused("ax", expected, len(self.axes_), of="AdaptationDisplay")
        self.figure_ = self.axes_[0].figure
        self.lines_ = [
            self._draw(axes, stage, window)
            for axes, stage in zip(self.axes_, stages, strict=True)
        ]
        return self

    def _draw(self, axes, stage, window):
        chosen = [n for n, name in enumerate(self.history["stage"]) if name == stage]
        steps = np.array([self.history["step"][n] for n in chosen])
        losses = np.array([self.history["loss"][n] for n in chosen])
        window = window or max(1, len(steps) // 20)
        mean = np.convolve(losses, np.ones(window) / window, mode="valid")
        (each,) = axes.plot(steps, losses, color="C0", alpha=0.3, linewidth=1)
        (running,) = axes.plot(steps[window - 1 :], mean, color="C0", linewidth=2)
        axes.set(title=stage, xlabel="step", ylabel="loss")
        axes.spines[["top", "right"]].set_visible(False)
        return each, running
