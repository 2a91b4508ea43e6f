"""The page of the seed's experiment: tables, bars that were reached, Markdown.

Knows only the summary that `seed_summary.summarise` gives; draws nothing itself (that is
seed_plots) and computes no score. What people wrote between the two markers of the page
stays as it is when the page is written again.
"""

from pathlib import Path

import seed_plots
from seed_summary import CLASSICAL, KINDS, USUAL

START, END = "% reading: written by hand", "% end of the reading"
LLM = ("news-llama-4m", "stories260K", "MiniLM")
METRICS = {
    "classification": "accuracy x 100",
    "similarity": "Spearman x 100",
    "retrieval": "nDCG@10 x 100",
}


def tables(summary):
    """Yield (title, header, rows) of all there are; cells are strings."""
    for kind in KINDS:
        if summary["means"][kind]:
            yield _means(summary, kind)
            yield _scores(summary, kind)
            yield _chosen(summary, kind)
    if summary["few"]:
        yield _few(summary)


def claims(summary):
    """The seed's claim, kind by kind and model by model: bar -> reached."""
    found = {}
    for kind in KINDS:
        for model in LLM if summary["means"][kind] else ():
            mean = summary["means"][kind][f"{model}, chosen"]
            for group in ("classical", "usual"):
                best = mean[f"against_{group}"]["best"]
                bar = f"{kind}: {model}, chosen, is above {best}"
                found[bar] = mean[f"against_{group}"]["low"] > 0
    return found


def plain_means(summary):
    """Kind -> method -> mean score over the sets."""
    return {
        kind: {method: mean["score"] for method, mean in means.items()}
        for kind, means in summary["means"].items()
    }


def write(summary, page):
    """Write the page, and its plots into images/ beside it."""
    images = page.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    plots = seed_plots.draw(summary, images)
    page.write_text(_page(summary, plots, _reading(page)))


def _reading(page):
    """What stands between the markers of the page, if there is one."""
    text = page.read_text() if page.exists() else ""
    if START not in text or END not in text:
        return "\n"
    return text.split(START, 1)[1].split(END, 1)[0]


def _methods(summary, kind):
    """Methods of a kind: classical, usual, then each model's rows."""
    there = list(summary["means"][kind])
    first = [m for m in (*CLASSICAL, *USUAL) if m in there]
    return first + [m for m in there if m not in first]


def _sets(summary, kind):
    return {n: s for n, s in summary["sets"].items() if s["kind"] == kind}


def _means(summary, kind):
    means = summary["means"][kind]
    first = means[_methods(summary, kind)[0]]
    classical, usual = (first[f"against_{g}"]["best"] for g in ("classical", "usual"))
    header = [
        "features",
        f"mean of {len(_sets(summary, kind))}",
        f"less {classical}",
        "won, tied, lost against the best classical row",
        f"less {usual}",
        "against the best usual row",
    ]
    rows = []
    for method in _methods(summary, kind):
        mean = means[method]
        row = [method, _interval(mean)]
        for group, best in (("classical", classical), ("usual", usual)):
            same = method == best
            row += [
                "" if same else _difference(mean[f"against_{group}"]),
                "" if same else ", ".join(map(str, mean[f"record_{group}"])),
            ]
        rows.append(row)
    return f"{kind.capitalize()}: means of {METRICS[kind]}", header, rows


def _scores(summary, kind):
    """One row a set, one column a method; the best of a row is bold."""
    methods = _methods(summary, kind)
    rows = []
    for name, facts in _sets(summary, kind).items():
        values = {m: facts["methods"][m]["score"] for m in methods}
        best = max(values.values())
        cells = [f"**{v:.1f}**" if v == best else f"{v:.1f}" for v in values.values()]
        rows.append([name, *_sizes(facts), *cells])
    sizes = {
        "classification": ["train", "test", "classes", "largest class"],
        "similarity": ["pairs"],
        "retrieval": ["documents", "queries"],
    }[kind]
    title = f"{kind.capitalize()}: {METRICS[kind]} on each set"
    return title, ["set", *sizes, *methods], rows


def _sizes(facts):
    n_test = str(facts["n_test"])
    if facts["kind"] == "classification":
        counts = [str(facts["n_train"]), n_test, str(facts["n_classes"])]
        return [*counts, f"{facts['majority']:.1f}"]
    return [str(facts["n_documents"]), n_test] if "n_documents" in facts else [n_test]


def _chosen(summary, kind):
    """Which layer and pooling each model was given."""
    rows = []
    for name, facts in _sets(summary, kind).items():
        row = [name]
        for model in LLM:
            method = facts["methods"][f"{model}, chosen"]
            cells = method.get("cells") or [method["cell"]]
            row.append("; ".join(f"{layer} {pooling}" for layer, pooling in cells))
        rows.append(row)
    return f"{kind.capitalize()}: chosen layer and pooling", ["set", *LLM], rows


def _few(summary):
    few = summary["few"]
    names = sorted(set.intersection(*(set(sets) for sets in few.values())))
    shots = sorted(few, key=int)
    full = _sets(summary, "classification")
    rows = []
    for method in _methods(summary, "classification"):
        row = [method]
        for n in shots:
            row.append(f"{_average(few[n][name][method][0] for name in names):.1f}")
        if set(names) <= set(full):
            scores = (full[name]["methods"][method]["score"] for name in names)
            row.append(f"{_average(scores):.1f}")
        rows.append(row)
    header = ["features", *(f"{n} a class" for n in shots), "all"][: len(rows[0])]
    return f"Few texts a class: mean accuracy x 100 on {len(names)} sets", header, rows


def _average(values):
    values = list(values)
    return sum(values) / len(values)


def _interval(value):
    return f"{value['score']:.1f} ({value['low']:.1f} to {value['high']:.1f})"


def _difference(value):
    return f"{value['score']:+.1f} ({value['low']:+.1f} to {value['high']:+.1f})"


def _markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
