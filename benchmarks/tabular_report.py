"""Tables and plot of `tabular.py`, out of its lines; nothing is measured here."""

import datetime
import os
import platform
import re
from pathlib import Path

import numpy as np

OURS = "hidden states, per column, 64"
PLOTTED = [
    "no text",
    "ordinal codes",
    "target means",
    "StringEncoder, 64",
    "MinHashEncoder, 30",
    "TF-IDF + SVD, 64",
    OURS,
    "hidden states, per column, all",
    "hidden states, per column, 64, layer 4 of 6",
    "hidden states, per column, 64, chosen layer",
    "hidden states, per column, 64, SmolLM2, chosen layer",
    "hidden states, per column, all, SmolLM2, chosen layer",
    "hidden states, joined, 64",
    "hidden states, row, 64",
    "CatBoost, text as text",
    "CatBoost, text as categories",
]
# (what, minus what), each fold by fold.
PAIRS = [
    (OURS, "ordinal codes"),
    (OURS, "target means"),
    (OURS, "StringEncoder, 64"),
    (OURS, "TF-IDF + SVD, 64"),
    ("hidden states, per column, 30", "StringEncoder, 30"),
    ("hidden states, per column, 30", "MinHashEncoder, 30"),
    ("hidden states, per column, 30", "LLMEncoder, 30"),
    ("hidden states, per column, all", "StringEncoder, 64"),
    ("hidden states, per column, 64, layer 4 of 6", "StringEncoder, 64"),
    ("hidden states, per column, 64, layer 4 of 6", "TF-IDF + SVD, 64"),
    (OURS, "hidden states, per column, 30"),
    ("hidden states, per column, all", OURS),
    ("hidden states, per column, 64, missing='empty'", OURS),
    ("hidden states, joined, 64", OURS),
    ("hidden states, row, 64", OURS),
    ("hidden states, per column, 64, layer 4 of 6", OURS),
    ("hidden states, per column, 64, chosen layer", OURS),
    ("hidden states, per column, all, chosen layer", "hidden states, per column, all"),
    (
        "hidden states, per column, all, chosen layer",
        "hidden states, per column, 64, chosen layer",
    ),
    ("hidden states, per column, 64, chosen layer", "StringEncoder, 64"),
    ("hidden states, per column, 64, chosen layer", "TF-IDF + SVD, 64"),
    ("hidden states, per column, all, chosen layer", "StringEncoder, 64"),
    ("hidden states, per column, all, chosen layer", "TF-IDF + SVD, 64"),
    ("hidden states, per column, 64, SmolLM2, chosen layer", f"{OURS}, SmolLM2"),
    (
        "hidden states, per column, all, SmolLM2, chosen layer",
        "hidden states, per column, all, SmolLM2",
    ),
    ("hidden states, per column, 64, Gemma 3, chosen layer", f"{OURS}, Gemma 3"),
    (
        "hidden states, per column, 64, SmolLM2, chosen layer",
        "hidden states, per column, 64, chosen layer",
    ),
    (
        "hidden states, per column, all, SmolLM2, chosen layer",
        "hidden states, per column, all, chosen layer",
    ),
]
# The encodings of the page's first table.
SUMMARY = [
    "no text",
    "ordinal codes",
    "target means",
    "StringEncoder, 64",
    "TF-IDF + SVD, 64",
    OURS,
    "hidden states, per column, 64, chosen layer",
    "hidden states, per column, 64, SmolLM2",
    "hidden states, per column, 64, SmolLM2, chosen layer",
    "hidden states, per column, 64, Gemma 3",
    "hidden states, per column, 64, Gemma 3, chosen layer",
    "hidden states, per column, all",
    "hidden states, per column, all, chosen layer",
]
COSTED = [
    "StringEncoder, 64",
    "MinHashEncoder, 30",
    "TF-IDF + SVD, 64",
    "LLMEncoder, 30",
    "hidden states, per column, 30",
    "hidden states, per column, 64, chosen layer",
    "hidden states, per column, 64, SmolLM2, chosen layer",
    "hidden states, joined, 30",
    "hidden states, row, 30",
]


def write_report(tables, done, args):
    """Write tables and plot into ``args.out``, and into a page if there is one."""
    scores = {key: np.array(line["score"]) for key, line in done.items()}
    names = [table.name for table in tables]
    blocks = {
        "run": run_block(args),
        "summary-trees": summary_block(scores, names, "trees"),
        "summary-linear": summary_block(scores, names, "linear"),
        "sets": sets_block(tables),
        "trees": scores_block(scores, names, ("trees", "CatBoost")),
        "linear": scores_block(scores, names, ("linear",)),
        "paired-trees": pairs_block(scores, names, "trees"),
        "paired-linear": pairs_block(scores, names, "linear"),
        "heads": heads_block(scores, names),
        "cost": cost_block(done, names),
        "head-cost": head_cost_block(done, names),
    }
    text = "\n\n".join(f"{mark(name)}\n\n{block}" for name, block in blocks.items())
    (args.out / "tables.md").write_text(text + "\n")
    print(text)
    pictures = args.out
    if args.page:
        page = Path(args.page)
        page.write_text(fill_page(page.read_text(), blocks))
        pictures = page.parent / "images"
    plot(scores, tables, pictures / "tabular.png")


# --- Markdown --------------------------------------------------------------------------


def mark(name):
    return f"<!-- tabular: {name} -->"


def fill_page(text, blocks):
    """Put each block between its mark and the next ``<!-- end -->``."""
    for name, block in blocks.items():
        between = re.compile(re.escape(mark(name)) + r".*?<!-- end -->", re.DOTALL)
        if not between.search(text):
            raise ValueError(f"The page has no {mark(name)} with an <!-- end -->.")
        filled = f"{mark(name)}\n\n{block}\n\n<!-- end -->"
        text = between.sub(lambda _, filled=filled: filled, text)
    return text


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def run_block(args):
    import catboost
    import sklearn
    import skrub
    import torch
    import transformers

    versions = ", ".join(
        f"{module.__name__} {module.__version__}"
        for module in (sklearn, skrub, catboost, torch, transformers)
    )
    small = " --small" if args.small else ""
    return (
        f"{datetime.date.today()}, `python benchmarks/tabular.py{small}`, "
        f"{platform.machine()} with {os.cpu_count()} cores that did other things too; "
        f"{versions}. At most {args.rows:,} rows of a set, {args.folds} folds."
    )


def sets_block(tables):
    rows = []
    for table in tables:
        text = ", ".join(
            f"{name} ({table.frame[name].nunique():,}; "
            f"{table.frame[name].dropna().str.len().mean():.0f})"
            for name in table.text
        )
        others = f"{len(table.categories)} + {len(table.numbers)}"
        rows.append([table.name, f"{len(table.y):,}", table.target, text, others])
    return markdown(
        [
            "set",
            "rows",
            "target",
            "text columns (distinct values; mean characters)",
            "categories + numbers beside",
        ],
        rows,
    )


def scores_block(scores, names, heads):
    """Mean ± standard deviation over folds; the best mean of a set is bold."""
    encodings = list(dict.fromkeys(e for _, e, h in scores if h in heads))
    encodings.sort(key=list_order)
    rows = []
    for encoding in encodings:
        found = [
            next(
                (scores[n, encoding, h] for h in heads if (n, encoding, h) in scores),
                [],
            )
            for n in names
        ]
        rows.append((encoding, found))
    best = [max(np.mean(f[n]) for _, f in rows if len(f[n])) for n in range(len(names))]
    shown = [
        [encoding, *[cell(s, b) for s, b in zip(found, best, strict=True)]]
        for encoding, found in rows
    ]
    return markdown(["encoding of the text", *names], shown)


def summary_block(scores, names, head):
    """The encodings of `SUMMARY` that were run with a head."""
    chosen = {
        (name, encoding, head): scores[name, encoding, head]
        for encoding in SUMMARY
        for name in names
        if (name, encoding, head) in scores
    }
    return scores_block(chosen, names, (head,))


def list_order(encoding):
    """The forms of hidden states together, by size; "all" ran last."""
    sizes = {"30": 0, "64": 1, "all": 2}
    parts = encoding.split(", ")
    groups = ["no text", "ordinal codes", "target means", "StringEncoder"]
    groups += ["MinHashEncoder", "TF-IDF + SVD", "LLMEncoder", "hidden states"]
    group = groups.index(parts[0]) if parts[0] in groups else len(groups)
    if parts[0] != "hidden states":
        return group, 0, sizes.get(parts[-1], 0), encoding
    form = ["per column", "joined", "row"].index(parts[1])
    return group, form, sizes[parts[2]], len(parts)


def cell(scores, best):
    if not len(scores):
        return ""
    mean = f"{np.mean(scores):.3f}"
    mean = f"**{mean}**" if mean == f"{best:.3f}" else mean
    return f"{mean} ± {np.std(scores, ddof=1):.3f}"


def difference(first, second):
    """Mean ± standard deviation of the differences, and in how many folds it is above."""
    if first is None or second is None:
        return ""
    gap = first - second
    spread = np.std(gap, ddof=1)
    return f"{np.mean(gap):+.3f} ± {spread:.3f} ({np.sum(gap > 0)}/{len(gap)})"


def pairs_block(scores, names, head):
    rows = []
    for first, second in PAIRS:
        found = [
            difference(scores.get((n, first, head)), scores.get((n, second, head)))
            for n in names
        ]
        short = (
            first.removeprefix("hidden states, "),
            second.removeprefix("hidden states, "),
        )
        rows.append([" - ".join(short), *found])
    return markdown(["difference", *names], rows)


def heads_block(scores, names):
    rows = []
    for size in ("30", "64", "all"):
        encoding = f"hidden states, per column, {size}"
        found = [
            difference(
                scores.get((n, encoding, "linear")), scores.get((n, encoding, "trees"))
            )
            for n in names
        ]
        rows.append([f"linear - trees, per column, {size}", *found])
    catboost = ["CatBoost, text as text", "CatBoost, text as categories"]
    for encoding in [OURS, "StringEncoder, 64"]:
        for other in catboost:
            found = [
                difference(
                    scores.get((n, encoding, "trees")),
                    scores.get((n, other, "CatBoost")),
                )
                for n in names
            ]
            short = encoding.removeprefix("hidden states, ")
            rows.append([f"trees on {short} - {other}", *found])
    return markdown(["difference", *names], rows)


def cost_block(done, names):
    """CPU seconds of encoding in one cross-validation: the first, and each later one."""
    rows = []
    for encoding in COSTED:
        found = [done.get((n, encoding, "trees")) for n in names]
        if encoding == "LLMEncoder, 30":  # later folds took what the first had encoded
            sums = [
                line and len(line["encode_cpu"]) * line["encode_cpu"][0]
                for line in found
            ]
        else:
            sums = [line and sum(line["encode_cpu"]) for line in found]
        rows.append([encoding, *map(seconds, sums)])
        if encoding.startswith("hidden states"):
            warm = [
                line and len(line["encode_cpu"]) * np.mean(line["encode_cpu"][1:])
                for line in found
            ]
            rows.append([f"{encoding}, again", *map(seconds, warm)])
    return markdown(["CPU seconds", *names], rows)


def head_cost_block(done, names):
    rows = []
    for size in ("30", "64", "all"):
        for head in ("trees", "linear"):
            found = [
                done.get((n, f"hidden states, per column, {size}", head)) for n in names
            ]
            sums = [line and sum(line["head_cpu"]) for line in found]
            rows.append([f"{head}, {size} features a column", *map(seconds, sums)])
    for kind in ("text", "categories"):
        found = [done.get((n, f"CatBoost, text as {kind}", "CatBoost")) for n in names]
        sums = [line and sum(line["head_cpu"]) for line in found]
        rows.append([f"CatBoost, text as {kind}", *map(seconds, sums)])
    return markdown(["CPU seconds", *names], rows)


def seconds(value):
    if value is None:
        return ""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


# --- plot ------------------------------------------------------------------------------


def plot(scores, tables, path):
    """One panel a set, one line an encoding: means and standard deviations over folds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 4, figsize=(13, 7.6), sharey=True, squeeze=False)
    axes[1, 3].axis("off")
    labels = PLOTTED[::-1]
    for axis, table in zip(axes.flat, tables, strict=False):
        for head, colour, shift in (
            ("trees", "C0", 0.14),
            ("linear", "C1", -0.14),
            ("CatBoost", "C2", 0),
        ):
            for at, encoding in enumerate(labels):
                found = scores.get((table.name, encoding, head))
                if found is not None:
                    axis.errorbar(
                        np.mean(found),
                        at + shift,
                        xerr=np.std(found, ddof=1),
                        fmt="o",
                        color=colour,
                        markersize=4,
                        elinewidth=1,
                    )
        axis.set_title(table.name, fontsize=10)
        axis.set_xlabel("ROC AUC" if table.is_class else "R²", fontsize=9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    axes[0, 0].set_yticks(range(len(labels)), labels)
    for head, colour in (("trees", "C0"), ("linear model", "C1"), ("CatBoost", "C2")):
        axes[0, 0].plot([], [], "o", color=colour, markersize=4, label=head)
    figure.legend(loc="upper center", ncols=3, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path, dpi=90)
    plt.close(figure)
