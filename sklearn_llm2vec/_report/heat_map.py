"""The heat map of a report: layer x pooling as an HTML table."""

import math

import numpy as np

from sklearn_llm2vec._report.colors import SCALES
from sklearn_llm2vec._report.wording import (
    STAR,
    escape,
    layer_name,
    number,
    seconds,
    with_error,
)

MOST_LAYERS_WITH_VALUES = 16
MOST_OF_A_NAME = 9  # characters of a layer's name that a column makes room for


def color_limits(panels):
    """Scores at both ends of the colors; what lies far below is drawn as the lower end.

    The first token of the embeddings, for instance, knows nothing of the text: its score
    would leave a single color to all the others. None where there is no score.
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


def _cell_hint(panel, at):
    """What a cell says when it is pointed at; one line each."""
    lines = [f"{layer_name(panel, at[0])}, {panel.poolings[at[1]]}"]
    if not math.isfinite(panel.scores[at]):
        return "\n".join([*lines, "no score"])
    lines.append(f"{panel.metric} {with_error(panel, at)}")
    lines.append(f"fit {seconds(panel.fit_seconds[at])}")
    if panel.others[at[0]][at[1]]:
        lines.append(panel.others[at[0]][at[1]])
    if at == panel.best:
        lines.append("best cell")
    return "\n".join(lines)


def _cell(panel, at, limits, with_value):
    score, is_best = panel.scores[at], at == panel.best
    hint = escape(_cell_hint(panel, at))
    # The Tab key reaches one cell, and from there the arrow keys reach the others.
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
