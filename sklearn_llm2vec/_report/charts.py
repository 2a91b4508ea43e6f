"""The pictures of a report: heat map, lines over depth, bars of cost.

Each takes a ``Panel`` and gives HTML or SVG.
"""

import html
import math

import numpy as np

from sklearn_llm2vec._report.colors import SCALES

MOST_LAYERS_WITH_VALUES = 16
MOST_SERIES = 6
TOO_LONG = 1e5  # scores from here on are written with an exponent
MOST_OF_A_NAME = 9  # characters of a layer's name that a column makes room for
NOTHING = "n/a"
STAR = '<span class="star" aria-hidden="true">★</span>'


# --- words and numbers ---------------------------------------------------------------


def escape(text):
    """Text that is safe in HTML, also in an attribute."""
    return html.escape(str(text), quote=True)


def number(value, like=None):
    """A score as text: three decimals, or four digits where it is large or tiny.

    A deviation is written `like` the score that it belongs to.

    Examples
    --------
    >>> from sklearn_llm2vec._report.charts import number
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
    >>> from sklearn_llm2vec._report.charts import seconds
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
    """Part of a full pass that a layer needs, from 0 to 1; None where unknown."""
    depth = panel.depths[row]
    return None if depth is None else depth / panel.n_layers


def _with_error(panel, at):
    """Mean and standard deviation of a cell."""
    score = panel.scores[at]
    return f"{number(score)} ± {number(panel.stds[at], like=score)}"


def _cell_hint(panel, at):
    """What a cell says when it is pointed at; one line each."""
    lines = [f"{layer_name(panel, at[0])}, {panel.poolings[at[1]]}"]
    if not math.isfinite(panel.scores[at]):
        return "\n".join([*lines, "no score"])
    lines.append(f"{panel.metric} {_with_error(panel, at)}")
    lines.append(f"fit {seconds(panel.fit_seconds[at])}")
    if panel.others[at[0]][at[1]]:
        lines.append(panel.others[at[0]][at[1]])
    if at == panel.best:
        lines.append("best cell")
    return "\n".join(lines)


def layer_name(panel, row):
    return f"{'layer' if panel.single[row] else 'layers'} {panel.layers[row]}"


# --- heat map ------------------------------------------------------------------------


def color_limits(panels):
    """Scores at both ends of the colours; what lies far below is drawn as the lower end.

    The first token of the embeddings, for instance, knows nothing of the text: its score
    would leave a single colour to all the others. None where there is no score.
    """
    scores = np.concatenate([panel.scores.ravel() for panel in panels])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    low, middle = np.quantile(scores, [0.25, 0.5])
    fence = low - 3.0 * (middle - low)  # Tukey's, by the half of the quartiles below
    return max(scores.min(), min(fence, low)), scores.max()


def is_clipped(panel, limits):
    """Whether a score lies below the lower of the limits."""
    scores = panel.scores[np.isfinite(panel.scores)]
    return bool((scores < limits[0]).any()) if limits else False


def heat_map(panel, limits):
    """Table of layer x pooling; poolings in rows, as in LayerPoolingDisplay."""
    with_values = len(panel.layers) <= MOST_LAYERS_WITH_VALUES
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in panel.layers)
    rows = "".join(
        f'<tr><th scope="row">{escape(pooling)}</th>'
        + "".join(
            _cell(panel, (i, j), limits, with_values) for i in range(len(panel.layers))
        )
        + "</tr>"
        for j, pooling in enumerate(panel.poolings)
    )
    size = "values" if with_values else "small"
    longest = max(len(name[:MOST_OF_A_NAME]) for name in panel.layers)
    if with_values:
        longest = max(longest, *(len(number(v)) for v in panel.scores.ravel()))
    return (
        f'<div class="scroll"><table class="heat {size}" role="grid" '
        f'style="--n:{len(panel.layers)};--w:{longest}" '
        f'aria-label="{escape(panel.metric)} by layer '
        f'and pooling"><thead><tr><th scope="col" class="corner">layer</th>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>{_legend(limits, panel)}"
    )


def _cell(panel, at, limits, with_value):
    score, is_best = panel.scores[at], at == panel.best
    hint = escape(_cell_hint(panel, at))
    # One cell can be reached by the tabulator, the others from there by arrow keys.
    stop = 0 if at == (panel.best or (0, 0)) else -1
    kind, style = ["best"] if is_best else [], ""
    if math.isfinite(score):
        span = limits[1] - limits[0]
        place = (score - limits[0]) / span if span else 1.0
        light, dark = SCALES["light"], SCALES["dark"]
        style = (
            f' style="--l:{light.color(place)};--lt:{light.text(place)};'
            f'--d:{dark.color(place)};--dt:{dark.text(place)}"'
        )
    else:
        kind.append("none")
    shown = number(score)
    value = shown if with_value else f'<span class="unseen">{shown}</span>'
    more = f'<span class="unseen"> ± {number(panel.stds[at], like=score)}'
    more += ", best cell</span>" if is_best else "</span>"
    classes = f' class="{" ".join(kind)}"' if kind else ""
    return (
        f'<td tabindex="{stop}" title="{hint}"{classes}{style}>'
        f"{STAR if is_best else ''}{value}{more}</td>"
    )


def _legend(limits, panel):
    if not limits or limits[0] == limits[1]:
        return ""
    low = ("≤ " if is_clipped(panel, limits) else "") + number(limits[0])
    return (
        f'<p class="scale"><span>{low}</span><span class="ramp"></span>'
        f"<span>{number(limits[1])}</span></p>"
    )


# --- lines over depth ----------------------------------------------------------------


class _Frame:
    """Where layers and scores lie in an SVG of a width."""

    def __init__(self, panel, width, height):
        self.width, self.height = width, height
        self.right, self.top, self.bottom = 14, 12, 40
        known = None not in panel.depths
        self.places = panel.depths if known else list(range(len(panel.layers)))
        self.last = max(panel.n_layers if known else len(panel.layers) - 1, 1)
        self.low, self.high = color_limits([panel])
        if panel.best is not None:
            std = np.nan_to_num(panel.stds[panel.best])
            self.high = max(self.high, panel.scores[panel.best] + std)
        room = 0.06 * (self.high - self.low) or 0.5
        self.low, self.high = self.low - room, self.high + room
        self.ticks = _round_ticks(self.low, self.high)
        self.left = max(46, 15 + 7 * max(len(label) for _, label in self.ticks))

    def x(self, place):
        return self.left + place / self.last * (self.width - self.left - self.right)

    def y(self, score):
        part = (score - self.low) / (self.high - self.low)
        return self.height - self.bottom - part * (self.height - self.top - self.bottom)


def _round_ticks(low, high):
    """Round scores, about five, each with its label."""
    span = high - low
    unit = 10.0 ** math.floor(math.log10(span / 6))
    step = next(unit * n for n in (1, 2, 2.5, 5, 10) if span / (unit * n) <= 6)
    ticks = [
        n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)
    ]
    largest = max(map(abs, ticks))
    exponent = math.floor(math.log10(largest)) if largest else 0
    plain = 0.001 <= largest < TOO_LONG
    scale = 1.0 if plain else 10.0**exponent
    # As many decimals as the step has.
    decimals = len(f"{step / scale:.8f}".rstrip("0").partition(".")[2])
    end = "" if plain else f"e{exponent}"
    return [(tick, f"{tick / scale:.{decimals}f}{end}") for tick in ticks]


def line_chart(panel, width, height, name):
    """SVG of score against depth, a line for each pooling.

    Parameters
    ----------
    panel : Panel
    width, height : int
        In pixels; text keeps its size, so a narrow page has a chart of its own.
    name : str
        Tells the chart from the others of the page.
    """
    frame = _Frame(panel, width, height)
    order = list(range(len(panel.poolings)))
    if panel.best is not None:  # the best pooling is drawn over the others
        order.sort(key=lambda j: j == panel.best[1])
    clip = f"clip-{name}"
    right, bottom = width - frame.right, height - frame.bottom
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="group" '
        f'aria-label="{escape(panel.metric)} against depth, by pooling">'
        f'<clipPath id="{clip}"><rect x="{frame.left - 7}" y="{frame.top - 7}" '
        f'width="{right - frame.left + 14}" height="{bottom - frame.top + 7}"/>'
        f"</clipPath>{_axes(frame)}"
        f'<g clip-path="url(#{clip})">{"".join(_series(panel, frame, j) for j in order)}'
        f"</g>{_bands(panel, frame)}</svg>"
    )


def _axes(frame):
    right, bottom = frame.width - frame.right, frame.height - frame.bottom
    parts = []
    for tick, label in frame.ticks:
        y = frame.y(tick)
        parts.append(
            f'<line class="rule" x1="{frame.left}" x2="{right}" y1="{y:.1f}" '
            f'y2="{y:.1f}"/><text class="tick" x="{frame.left - 9}" y="{y + 4:.1f}" '
            f'text-anchor="end">{label}</text>'
        )
    step = math.ceil((frame.last + 1) / ((right - frame.left) / 34))
    for place in range(0, frame.last + 1, step):
        parts.append(
            f'<text class="tick" x="{frame.x(place):.1f}" y="{bottom + 18}" '
            f'text-anchor="middle">{place}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(frame.left + right) / 2:.0f}" y="{bottom + 36}" '
        'text-anchor="middle">hidden state: 0 is the embeddings, '
        f"{frame.last} the last layer</text>"
    )
    return "".join(parts)


def _series(panel, frame, j):
    """Band, line and marks of one pooling; means of several layers are marks alone."""
    rows = [
        i
        for i in np.argsort(frame.places, kind="stable")
        if math.isfinite(panel.scores[i, j])
    ]
    line = [i for i in rows if panel.single[i]]
    at = {i: (frame.x(frame.places[i]), frame.y(panel.scores[i, j])) for i in rows}
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at[i] for i in line))
    upper, lower = [], []
    for i in line:
        std = np.nan_to_num(panel.stds[i, j])
        sides = (-4, 4) if len(line) == 1 else (0,)  # one layer has a bar, not a band
        for side, score in ((upper, std), (lower, -std)):
            y = frame.y(panel.scores[i, j] + score)
            side += [f"{at[i][0] + x:.1f},{y:.1f}" for x in sides]
    marks = "".join(
        f'<g transform="translate({at[i][0]:.1f} {at[i][1]:.1f})">'
        f"{mark(j, hollow=not panel.single[i])}</g>"
        for i in rows
    )
    star = ""
    if panel.best is not None and panel.best[1] == j:
        x, y = at[panel.best[0]]
        star = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
    chosen = " on" if panel.best is not None and panel.best[1] == j else ""
    return (
        f'<g class="series s{j % MOST_SERIES}{chosen}" data-series="{j}">'
        f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>'
        f'<polyline points="{path}"/>{marks}{star}</g>'
    )


def mark(j, hollow=False):
    """SVG of a series' mark around the origin; shapes differ, not colours alone."""
    shapes = (
        '<circle r="3.8"/>',
        '<rect x="-3.4" y="-3.4" width="6.8" height="6.8"/>',
        '<path d="M0-5L4.6 3.4H-4.6Z"/>',
        '<path d="M0-4.9L4.9 0L0 4.9L-4.9 0Z"/>',
        '<path d="M0 5L4.6-3.4H-4.6Z"/>',
        '<path d="M-4-1.4H-1.4V-4H1.4V-1.4H4V1.4H1.4V4H-1.4V1.4H-4Z"/>',
    )
    return f'<g class="mark{" hollow" if hollow else ""}">{shapes[j % 6]}</g>'


def _bands(panel, frame):
    """Invisible columns, one for each depth, that say all its scores."""
    by_place = {}
    for i, place in enumerate(frame.places):
        by_place.setdefault(place, []).append(i)
    half = (frame.width - frame.left - frame.right) / frame.last / 2
    bottom = frame.height - frame.bottom
    parts = []
    for n, (place, rows) in enumerate(sorted(by_place.items())):
        hint = escape(_depth_hint(panel, rows))
        x = frame.x(place)
        parts.append(
            f'<g class="depth" role="img" tabindex="{-1 if n else 0}" '
            f'aria-label="{hint}"><title>{hint}</title>'
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{bottom}"/>'
            f'<rect x="{x - half:.1f}" y="{frame.top}" width="{2 * half:.1f}" '
            f'height="{bottom - frame.top}"/></g>'
        )
    return "".join(parts)


def _depth_hint(panel, rows):
    lines = []
    for i in rows:
        lines.append(layer_name(panel, i))
        known = [
            j for j in range(len(panel.poolings)) if np.isfinite(panel.scores[i, j])
        ]
        for j in sorted(known, key=lambda j: -panel.scores[i, j]):
            lines.append(f"{panel.poolings[j]} {_with_error(panel, (i, j))}")
    return "\n".join(lines)


# --- cost ----------------------------------------------------------------------------


def cost_table(panel):
    """Table of what each layer needs of a full pass, and of its best score."""
    rows = []
    for i in sorted(range(len(panel.layers)), key=lambda i: panel.depths[i]):
        known = np.isfinite(panel.scores[i])
        best = int(np.nanargmax(panel.scores[i])) if known.any() else None
        is_best = panel.best is not None and i == panel.best[0]
        if is_best:
            best = panel.best[1]
        part = share(panel, i)
        score = NOTHING if best is None else _with_error(panel, (i, best))
        pooling = NOTHING if best is None else escape(panel.poolings[best])
        rows.append(
            f"<tr{' class=best' if is_best else ''}>"
            f'<th scope="row">{STAR if is_best else ""}{escape(panel.layers[i])}</th>'
            f"<td>{panel.depths[i]} of {panel.n_layers}</td>"
            f'<td class="share"><span class="track"><span class="bar" '
            f'style="width:{100 * part:.1f}%"></span></span>{100 * part:.0f} %</td>'
            f"<td>{score}</td><td>{pooling}</td></tr>"
        )
    return (
        '<div class="scroll tall" tabindex="0" role="region" aria-label="Cost by layer">'
        '<table class="cost"><thead><tr><th scope="col">layer</th>'
        '<th scope="col">blocks run</th><th scope="col">share of a full pass</th>'
        f'<th scope="col">{escape(panel.metric)}</th><th scope="col">pooling</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
