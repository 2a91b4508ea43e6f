"""How a report writes numbers, times, names and text."""

import html
import math

TOO_LONG = 1e5  # scores from here on are written with an exponent
NOTHING = "n/a"
STAR = '<span class="star" aria-hidden="true">★</span>'


def escape(text):
    """Text that is safe in HTML, also in an attribute."""
    return html.escape(str(text), quote=True)


def number(value, like=None):
    """A score as text: three decimals, or four digits where it is large or tiny.

    A deviation is written `like` the score that it belongs to.

    Examples
    --------
    >>> from sklearn_llm2vec._report.wording import number
    >>> [number(value) for value in (0.8125, -82.0, -40712.3, -1.6572e9, 0.00012)]
    ['0.812', '-82.00', '-40712', '-1.657e9', '1.200e-4']
    >>> number(1.9e8, like=-1.6572e9)
    '0.190e9'
    """
    if not math.isfinite(value):
        return NOTHING
    size = abs(value if like is None else like)
    if size == 0 or 0.0005 <= size < 10:
        return f"{value:.3f}"
    exponent = math.floor(math.log10(size))
    if 10 <= size < TOO_LONG:
        return f"{value:.{max(0, 3 - exponent)}f}"
    return f"{value / 10.0**exponent:.3f}e{exponent}"


def seconds(value):
    """A time as text.

    Examples
    --------
    >>> from sklearn_llm2vec._report.wording import seconds
    >>> [seconds(value) for value in (0.0312, 2.5, 75.0, 7300.0)]
    ['31 ms', '2.5 s', '1 min 15 s', '2 h 1 min']
    """
    if not math.isfinite(value):
        return NOTHING
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def share(panel, row):
    """Share of the whole model that a layer needs, from 0 to 1; None if unknown."""
    depth = panel.depths[row]
    if depth is None:
        return None
    return depth / panel.n_layers if panel.n_layers else 1.0  # a static model has none


def with_error(panel, at):
    """Mean and standard deviation of a cell."""
    score = panel.scores[at]
    return f"{number(score)} ± {number(panel.stds[at], like=score)}"


def layer_name(panel, row):
    """A row of a panel, such as ``layer 3`` or ``layers 2+6``."""
    return f"{'layer' if panel.single[row] else 'layers'} {panel.layers[row]}"


def winner(panel):
    """The best layer and pooling of a panel, as a title."""
    layer, pooling = panel.best
    named = f"{layer_name(panel, layer)}, {panel.poolings[pooling]} pooling"
    return named.capitalize()


def panel_heading(facts, panel):
    """The name of a panel where there are several."""
    return f"<h3>{escape(panel.name)}</h3>" if len(facts.panels) > 1 else ""
