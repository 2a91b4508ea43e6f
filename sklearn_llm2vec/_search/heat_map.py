"""One panel of a display: the heat map of a table of scores, by matplotlib."""

import math

import numpy as np

from sklearn_llm2vec._search.score_tables import layer_label

MOST_TICK_LABELS = 32


def draw_scores(ax, table, cmap, limits):
    """Draw the heat map itself, with its ticks; layers on x, poolings on y."""
    # What has no score stays open: the hatched background shows through.
    ax.patch.set(facecolor="#ececec", edgecolor="#bdbdbd", hatch="////")
    low, high = limits
    image = ax.imshow(
        np.ma.masked_invalid(table.scores.T),
        cmap=cmap,
        aspect="auto",
        vmin=low,
        vmax=high,
    )
    labels = [layer_label(layer) for layer in table.layers]
    step = math.ceil(len(labels) / MOST_TICK_LABELS)
    turned = max(map(len, labels)) > 5
    ax.set_xticks(
        range(0, len(labels), step),
        labels[::step],
        rotation=35 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor",
    )
    ax.set_yticks(range(len(table.poolings)), table.poolings)
    # White lines between the cells; minor ticks are the only ones that lie there.
    ax.set_xticks(np.arange(1, len(labels)) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, len(table.poolings)) - 0.5, minor=True)
    ax.grid(False)
    ax.grid(which="minor", color="white", linewidth=1)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="layer", ylabel="pooling")
    return image


def draw_values(ax, table, image, values_format):
    """Write the scores into the cells; array of Text, None where there is no score."""
    texts = np.full(table.scores.shape, None, dtype=object)
    for at, score in np.ndenumerate(table.scores):
        if np.isfinite(score):
            texts[at] = ax.text(
                *at,
                format(score, values_format),
                ha="center",
                va="center",
                fontsize=8.5,
                fontweight="bold" if at == table.best else "normal",
                color=_readable_on(image.cmap(image.norm(score))),
            )
    return texts


def mark_best(ax, table, beside_value):
    """Outline and star of the best cell, readable on every color."""
    if table.best is None:
        return None
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import Normal, Stroke

    x, y = table.best
    halo = [Stroke(linewidth=4.5, foreground="white"), Normal()]
    outline = Rectangle(
        (x - 0.5, y - 0.5),
        1,
        1,
        fill=False,
        edgecolor="#d62728",
        linewidth=2.2,
        zorder=3,
        clip_on=False,
        path_effects=halo,
    )
    ax.add_patch(outline)
    # Where the cell is taken by its value, the star sits on the outline's corner.
    place = (x + 0.5, y - 0.5) if beside_value else (x, y)
    (star,) = ax.plot(
        *place,
        marker="*",
        markersize=13,
        markerfacecolor="#d62728",
        markeredgecolor="white",
        markeredgewidth=0.9,
        linestyle="none",
        clip_on=False,
        zorder=4,
    )
    return outline, star


def _readable_on(rgba):
    """Black or white, whichever has more contrast to a color."""
    # Perceived brightness, ITU-R BT.601.
    brightness = np.dot(rgba[:3], (0.299, 0.587, 0.114))
    return "black" if brightness > 0.5 else "white"


def panel_title(name, table, values_format):
    """Panel and metric, and under them the best score."""
    head = name if name.endswith(table.metric) else f"{name}, {table.metric}"
    if table.best is None:
        return f"{head}\nno score"
    layer, pooling = table.layers[table.best[0]], table.poolings[table.best[1]]
    best = format(table.scores[table.best], values_format)
    return f"{head}\nbest {best}: layer {layer_label(layer)}, {pooling}"
