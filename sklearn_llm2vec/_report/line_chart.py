"""The chart of a report: score against depth as SVG, a line for each pooling."""

import math

import numpy as np

from sklearn_llm2vec._report.heat_map import color_limits
from sklearn_llm2vec._report.wording import TOO_LONG, escape, layer_name, with_error

MOST_SERIES = 6


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
        f"{_mark(j, hollow=not panel.single[i])}</g>"
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


def _mark(j, hollow=False):
    """SVG of a series' mark around the origin; shapes differ, not colors alone."""
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
            lines.append(f"{panel.poolings[j]} {with_error(panel, (i, j))}")
    return "\n".join(lines)


def legend(panel):
    """Buttons that choose whose band is shown."""
    best = 0 if panel.best is None else panel.best[1]
    buttons = "".join(
        f'<button type="button" data-series="{j}" '
        f'aria-pressed="{"true" if j == best else "false"}">'
        f'<svg viewBox="-14 -6 28 12" aria-hidden="true"><g class="series '
        f's{j % MOST_SERIES}"><polyline points="-14,0 14,0"/>{_mark(j)}</g></svg>'
        f"{escape(pooling)}</button>"
        for j, pooling in enumerate(panel.poolings)
    )
    return f'<div class="legend">{buttons}</div>'
