"""The page of a report: facts of a search as one HTML file that needs nothing else.

Style and script are put into it from the files beside this one, so that a browser loads
nothing else.
"""

import base64
import hashlib
import json
import math
from importlib.resources import files

import numpy as np

from sklearn_llm2vec._common.people import format_bytes
from sklearn_llm2vec._report.colors import SCALES
from sklearn_llm2vec._report.costs import cost_section
from sklearn_llm2vec._report.heat_map import (
    MOST_LAYERS_WITH_VALUES,
    color_limits,
    heat_map,
    is_clipped,
)
from sklearn_llm2vec._report.line_chart import legend, line_chart
from sklearn_llm2vec._report.wording import (
    escape,
    number,
    panel_heading,
    seconds,
    share,
    winner,
)


def render(facts):
    """The page.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    str
        HTML.
    """
    style = _beside("css")
    for name, scale in SCALES.items():
        style = style.replace(f"RAMP_{name.upper()}", scale.gradient())
    script = _beside("js")
    best = facts.panels[0]
    title = f"{winner(best)}: {best.metric} {number(best.scores[best.best])}"
    # Only this style and this very script may run, whatever the names in the page hold.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    sections = [_scores, _expected, _depths, cost_section, _cache, _code]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{_header(facts)}\n"
        + "\n".join(section(facts) for section in sections)
        + f"\n{_footer(facts)}\n</main>\n"
        '<div id="tip" role="tooltip" hidden></div>\n'
        f'<script type="application/json" id="data">{_data(facts)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _beside(kind):
    path = files("sklearn_llm2vec._report").joinpath(f"page.{kind}")
    return path.read_text(encoding="utf-8")


# --- sections ------------------------------------------------------------------------


def _header(facts):
    best = facts.panels[0]
    n_fits = facts.n_candidates * facts.n_splits
    layers = "" if best.n_layers is None else f"{best.n_layers} layers"
    part = share(best, best.best[0])
    rows = [
        ("Model", best.model, layers),
        ("Cross-validation", f"{facts.n_splits} folds", facts.cv),
        ("Task", facts.task, f"scored by {best.metric}"),
        ("Candidates", f"{facts.n_candidates:,}", f"{n_fits:,} fits"),
    ]
    if part is not None:
        rows.append(
            (
                "Cost of the best",
                f"{100 * part:.0f} % of the whole model",
                f"{best.depths[best.best[0]]} of {best.n_layers} blocks",
            )
        )
    for name, one in list(facts.comparisons.items())[:1]:
        rows.insert(0, ("Expected on new rows", number(one.mean), name))
    if facts.refit_seconds is not None:
        rows.append(
            ("Refit", seconds(facts.refit_seconds), "best candidate on all rows")
        )
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{_breakable(value)}"
        + (f"<small>{escape(more)}</small>" if more else "")
        + "</dd></div>"
        for name, value, more in rows
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in facts.notes)
    at = best.best
    return (
        f'<header>\n<p class="kind">Best of {escape(facts.search)} over layer and '
        f'pooling</p>\n<div class="winner"><h1>{escape(winner(best))}</h1>'
        f'<p class="score"><strong>{number(best.scores[at])}</strong> ± '
        f"{number(best.stds[at], like=best.scores[at])} {escape(best.metric)}</p></div>\n"
        f'<dl class="facts">{listed}</dl>\n{notes}</header>'
    )


def _breakable(text):
    """Text that may go on in the next line behind a slash: names of models."""
    return escape(text).replace("/", "/<wbr>")


def _expected(facts):
    """The best score is the highest of many: what to expect on new rows."""
    best = facts.panels[0]
    n_scores = int(np.isfinite(best.scores).sum())
    text = (
        f"The best score, {number(best.scores[best.best])}, is the highest of "
        f"{n_scores:,} on the same folds, so expect a lower score on new rows."
    )
    head = '<section id="expected"><h2>What to expect on new rows</h2>'
    if not facts.comparisons:
        advice = "Set aside some test rows, or cross-validate the whole search."
        return f"{head}<p>{text} {advice}</p></section>"
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{number(one.mean)}</td>'
        f"<td>{_interval(one)}</td></tr>"
        for name, one in facts.comparisons.items()
    )
    return (
        f"{head}<p>{text} These estimates are from the same folds:</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Estimates">'
        '<table class="spaces"><thead><tr><th scope="col">features</th>'
        f'<th scope="col">{escape(best.metric)}</th>'
        '<th scope="col">95 % interval</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _interval(one):
    if not math.isfinite(one.low):
        return ""
    return f"{number(one.low, like=one.mean)} to {number(one.high, like=one.mean)}"


def _scores(facts):
    drawn = "".join(
        panel_heading(facts, panel)
        + heat_map(panel, color_limits(_with_same_metric(facts, panel)))
        for panel in facts.panels
    )
    few = max(len(panel.layers) for panel in facts.panels) <= MOST_LAYERS_WITH_VALUES
    hint = "its standard deviation and fit time" if few else "its value"
    others = any(text for p in facts.panels for row in p.others for text in row)
    return (
        '<section id="scores"><h2>Score by layer and pooling</h2>'
        f"<p>Each cell shows the mean over the folds{_of_the_best_others(others)}. "
        f"Stronger colors mean higher scores. Point at a score to see {hint}, or move "
        "with the arrow keys. Texts are encoded during the first fit that needs them, "
        "and its fit time includes this.</p>"
        f"{drawn}</section>"
    )


def _of_the_best_others(others):
    if not others:
        return ""
    return ", of the best candidate with this layer and pooling"


def _with_same_metric(facts, panel):
    return [other for other in facts.panels if other.metric == panel.metric]


def _depths(facts):
    panels = [panel for panel in facts.panels if np.isfinite(panel.scores).any()]
    drawn = "".join(
        f'{panel_heading(facts, panel)}<div class="lines">'
        f'<div class="wide">{line_chart(panel, 880, 340, f"wide-{n}")}</div>'
        f'<div class="narrow">{line_chart(panel, 360, 300, f"narrow-{n}")}</div>'
        f"{legend(panel)}</div>"
        for n, panel in enumerate(panels)
    )
    single = all(all(panel.single) for panel in panels)
    means = "" if single else " Hollow marks stand for means of several layers."
    if any(is_clipped(panel, color_limits([panel])) for panel in panels):
        means += " Scores far below the others are outside of the chart."
    return (
        '<section id="depth"><h2>Score against depth</h2>'
        "<p>The band shows one standard deviation over the folds in each direction, "
        f"for the pooling that is selected below.{means}</p>{drawn}</section>"
    )


def _cache(facts):
    """What this search has in the cache, and nothing of what others have there."""
    head = '<section id="cache"><h2>What the search stored</h2>'
    if facts.cache is None:
        return f"{head}<p>The search ran without a cache.</p></section>"
    rows = "".join(
        f'<tr><th scope="row">{escape(space["name"])}</th><td>{space["texts"]:,}</td>'
        f"<td>{len(space['cells']):,}</td><td>{space['vectors']:,}</td>"
        f"<td>{format_bytes(space['bytes'])}</td></tr>"
        for space in facts.cache["spaces"]
    )
    if not rows:
        return f"{head}<p>The vectors are in a cache.</p></section>"
    return (
        f"{head}<p>On {escape(facts.day)}, the cache contained the following vectors of "
        "these texts and settings. The next search finds them there.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Stored vectors">'
        '<table class="spaces"><thead><tr><th scope="col">model and settings</th>'
        '<th scope="col">texts</th><th scope="col">layers with poolings</th>'
        '<th scope="col">vectors</th><th scope="col">size</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _code(facts):
    blanks = ""
    if facts.blanks:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in facts.blanks)
        blanks = f" Fill in {names} first."
    return (
        '<section id="code"><h2>Python code of the best candidate</h2>'
        "<p>Parameters with default values are left out. <code>X</code> and "
        f"<code>y</code> are the rows of the search.{blanks}</p>"
        '<div class="code"><button type="button" class="copy" aria-controls="source" '
        'aria-live="polite" hidden>Copy</button>'
        '<pre tabindex="0" role="region" aria-label="Python code">'
        f'<code id="source">{escape(facts.code)}</code></pre></div></section>'
    )


def _footer(facts):
    return (
        f"<footer>Made by sklearn-llm2vec {escape(facts.version)} on "
        f"{escape(facts.day)}. The page contains no texts and loads nothing from "
        "elsewhere. It also contains its numbers as JSON.</footer>"
    )


# --- the numbers, for programs -------------------------------------------------------


def _data(facts):
    """JSON of the scores; what could end the element that holds it is escaped."""
    panels = [
        {
            "name": panel.name,
            "model": panel.model,
            "metric": panel.metric,
            "n_layers": panel.n_layers,
            "layers": panel.layers,
            "poolings": panel.poolings,
            "depths": panel.depths,
            "scores": _plain(panel.scores),
            "stds": _plain(panel.stds),
            "fit_seconds": _plain(panel.fit_seconds),
            "best": panel.best,
        }
        for panel in facts.panels
    ]
    data = {"version": facts.version, "n_splits": facts.n_splits, "panels": panels}
    text = json.dumps(data, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _plain(table):
    return [[v if math.isfinite(v) else None for v in row] for row in table.tolist()]
