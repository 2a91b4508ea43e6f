"""The plots of the seed's experiment, drawn from its summary alone.

One dot plot a kind of task (sets x features, with intervals), the score at each layer,
and accuracy against the number of labeled texts.
"""

from seed_summary import KINDS

METRICS = {
    "classification": "accuracy x 100",
    "similarity": "Spearman x 100",
    "retrieval": "nDCG@10 x 100",
}
# Counts and word vectors in grays, MiniLM in blues, decoders in warm colors; another
# marker for each group.
LOOKS = {
    "TF-IDF": ("#222222", "s"),
    "BM25": ("#777777", "s"),
    "word2vec": ("#aaaaaa", "s"),
    "MiniLM, mean": ("#7fb8da", "D"),
    "MiniLM, chosen": ("#0a5a94", "o"),
    "SmolLM2 135M, chosen": ("#e6a532", "o"),
    "Gemma 3 270M, chosen": ("#d55e00", "o"),
}
# What the first plot shows, in words: decoders in color, all others in gray.
OVERVIEW = {
    "word2vec": ("word2vec", "#888888"),
    "TF-IDF": ("TF-IDF", "#888888"),
    "MiniLM, mean": ("MiniLM, last layer", "#888888"),
    "MiniLM, chosen": ("MiniLM, chosen layer", "#7fb8da"),
    "SmolLM2 135M, last": ("SmolLM2 135M, last layer", "#f3d08f"),
    "SmolLM2 135M, chosen": ("SmolLM2 135M, chosen layer", "#e6a532"),
    "Gemma 3 270M, last": ("Gemma 3 270M, last layer", "#eeb28a"),
    "Gemma 3 270M, chosen": ("Gemma 3 270M, chosen layer", "#d55e00"),
}
POOLINGS = {
    "mean": "#0a5a94",
    "weighted_mean": "#2a9d8f",
    "max": "#d55e00",
    "last": "#aaaaaa",
    "first": "#aaaaaa",
}
STYLE = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "font.size": 9,
    "grid.color": "#e6e6e6",
    "text.color": "#222222",
    "legend.frameon": False,
}


def draw(summary, folder):
    """Write the plots that there are figures for; name -> (path, alternative text)."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    found = {}
    with plt.rc_context(STYLE):
        if summary["means"]["classification"]:
            alt = "Mean accuracy of each kind of features, from word2vec to Gemma 3"
            found["overview"] = _overview(plt, summary), alt
        for kind in KINDS:
            if summary["means"][kind]:
                alt = f"{METRICS[kind]} of each kind of features on each set"
                found[kind] = _scores(plt, summary, kind), alt
        if any(summary["layers"].values()):
            alt = "Score at each layer for each model, pooling and kind of task"
            found["layers"] = _layers(plt, summary), alt
        if summary["few"]:
            alt = "Mean accuracy by number of labeled texts per class"
            found["few"] = _few(plt, summary), alt
        paths = {}
        for name, (figure, alt) in found.items():
            path = folder / f"results-{name}.png"
            figure.savefig(
                path, dpi=110, bbox_inches="tight", metadata={"Software": None}
            )
            plt.close(figure)
            paths[name] = path, alt
    return paths


def _overview(plt, summary):
    """Mean accuracy over the sets, the lowest at the bottom."""
    means = summary["means"]["classification"]
    names = sorted((m for m in means if m in OVERVIEW), key=lambda m: means[m]["score"])
    figure, ax = plt.subplots(figsize=(7.5, 0.7 + 0.34 * len(names)))
    for row, name in enumerate(names):
        mean, color = means[name], OVERVIEW[name][1]
        ax.plot([mean["low"], mean["high"]], [row, row], color=color, lw=3)
        ax.plot(mean["score"], row, "o", color=color, ms=9)
        ax.annotate(
            f"{mean['score']:.1f}",
            (mean["high"], row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    ax.set_yticks(range(len(names)), [OVERVIEW[name][0] for name in names])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    n_sets = sum(s["kind"] == "classification" for s in summary["sets"].values())
    ax.set_xlabel(f"accuracy x 100, mean of {n_sets} sets, with 95 % interval")
    ax.margins(x=0.1)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    figure.set_layout_engine("constrained")
    return figure


def _scores(plt, summary, kind):
    """Sets from top to bottom, one line of dots for each kind of features."""
    sets = {n: s for n, s in summary["sets"].items() if s["kind"] == kind}
    methods = [m for m in LOOKS if m in summary["means"][kind]]
    names = sorted(
        sets, key=lambda n: max(v["score"] for v in sets[n]["methods"].values())
    )
    height = 0.14 * len(methods) + 0.1
    figure, ax = plt.subplots(figsize=(7.5, 0.9 + height * len(names)))
    for row, name in enumerate(names):
        if row % 2:
            ax.axhspan(row - 0.5, row + 0.5, color="#f6f6f6", zorder=0)
        for k, method in enumerate(methods):
            value = sets[name]["methods"][method]
            y = row + 0.8 * ((len(methods) - 1) / 2 - k) / len(methods)
            color, marker = LOOKS[method]
            ax.plot(
                [value["low"], value["high"]], [y, y], color=color, lw=1.2, zorder=2
            )
            label = method if row == 0 else None
            ax.plot(value["score"], y, marker, color=color, ms=4, label=label, zorder=3)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.5, len(names) - 0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_axisbelow(True)
    ax.set_xlabel(METRICS[kind])
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.set_layout_engine("constrained")
    return figure


def _layers(plt, summary):
    """A panel for each kind of task and model, a line for each pooling."""
    kinds = [kind for kind in KINDS if summary["layers"][kind]]
    models = ("SmolLM2 135M", "Gemma 3 270M", "MiniLM")
    figure, axes = plt.subplots(
        len(kinds), 3, figsize=(7.5, 2 * len(kinds)), sharey="row", squeeze=False
    )
    names = {}
    for kind, line in zip(kinds, axes, strict=True):
        for model, ax in zip(models, line, strict=True):
            for pooling, values in summary["layers"][kind][model].items():
                dashes = "--" if pooling == "first" else "-"
                depths = [k / (len(values) - 1) for k in range(len(values))]
                names[pooling] = ax.plot(
                    depths, values, dashes, color=POOLINGS[pooling], marker=".", lw=1.3
                )[0]
            ax.grid()
            if ax in axes[0]:
                ax.set_title(model)
            if ax in axes[-1]:
                ax.set_xlabel("depth (1 is the last layer)")
        line[0].set_ylabel(f"{kind}\n{METRICS[kind]}")
    figure.legend(names.values(), names, loc="outside upper center", ncols=5)
    figure.set_layout_engine("constrained")
    return figure


def _few(plt, summary):
    """Accuracy against texts per class, mean over the sets that have all of them."""
    few = summary["few"]
    names = set.intersection(*(set(sets) for sets in few.values()))
    full = {n: s["methods"] for n, s in summary["sets"].items() if n in names}
    shots = sorted(few, key=int)
    figure, ax = plt.subplots(figsize=(5.5, 3.6))
    for method, (color, marker) in LOOKS.items():
        if method not in next(iter(full.values())):
            continue
        values = [sum(few[n][s][method][0] for s in names) / len(names) for n in shots]
        values.append(sum(s[method]["score"] for s in full.values()) / len(names))
        ax.plot(values, color=color, marker=marker, ms=4, lw=1.3, label=method)
    ax.set_xticks(range(len(shots) + 1), [*shots, "all"])
    ax.set_xlabel("labeled texts per class")
    ax.set_ylabel(f"accuracy x 100, mean of {len(names)} sets")
    ax.grid()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
