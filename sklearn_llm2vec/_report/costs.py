"""What a layer costs: the section of a report, with its table."""

import numpy as np

from sklearn_llm2vec._report.wording import (
    NOTHING,
    STAR,
    escape,
    layer_name,
    number,
    panel_heading,
    share,
    winner,
    with_error,
)


def cost_section(facts):
    """The section; empty where the layers of no model are known."""
    drawn = [
        _cost(facts, panel)
        for panel in facts.panels
        if panel.metric == facts.panels[0].metric and None not in panel.depths
    ]
    if not drawn:
        return ""
    return (
        '<section id="cost"><h2>What a layer costs</h2>'
        "<p>To compute a layer, only the blocks up to it are loaded and run. The share "
        "is a share of blocks, which take about the same time in most models. "
        "Tokenizing, the embeddings and the steps after the transformer add to "
        "the cost.</p>"
        f"{''.join(drawn)}</section>"
    )


def _cost(facts, panel):
    if panel.best is None:
        return ""
    part = share(panel, panel.best[0])
    name = winner(panel)
    says = [
        f"{name}, the best combination, runs {panel.depths[panel.best[0]]} of "
        f"{panel.n_layers} blocks, which is {100 * part:.0f} % of the whole model."
    ]
    cheap = panel.cheapest_as_good(facts.n_splits)
    if cheap is not None and panel.depths[cheap[0]] < panel.depths[panel.best[0]]:
        says.append(
            "The cheapest combination within one standard error of it is "
            f"{layer_name(panel, cheap[0])}, {panel.poolings[cheap[1]]}, with "
            f"{number(panel.scores[cheap])} for {100 * share(panel, cheap[0]):.0f} %."
        )
    elif cheap is not None and min(panel.depths) < panel.depths[panel.best[0]]:
        says.append("No cheaper layer is within one standard error of it.")
    return (
        f'{panel_heading(facts, panel)}<p class="note sum">{escape(" ".join(says))}</p>'
        f"{_cost_table(panel)}"
    )


def _cost_table(panel):
    """Table of the share of the model that each layer needs, and its best score."""
    rows = []
    for i in sorted(range(len(panel.layers)), key=lambda i: panel.depths[i]):
        known = np.isfinite(panel.scores[i])
        best = int(np.nanargmax(panel.scores[i])) if known.any() else None
        is_best = panel.best is not None and i == panel.best[0]
        if is_best:
            best = panel.best[1]
        part = share(panel, i)
        score = NOTHING if best is None else with_error(panel, (i, best))
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
        '<th scope="col">blocks run</th><th scope="col">share of the whole model</th>'
        f'<th scope="col">{escape(panel.metric)}</th><th scope="col">pooling</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
