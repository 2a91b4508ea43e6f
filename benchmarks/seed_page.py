"""What the seed's experiment fills in on its page: tables, plots, how they were made.

Knows only the summary that `seed_summary.summarise` gives and computes no score. The
page's prose is its own: only what stands between ``<!-- begin NAME -->`` and
``<!-- end NAME -->`` is written.
"""

import seed_plots
from seed_plots import METRICS
from seed_summary import CLASSICAL, GROUPS, KINDS, USUAL

LLM = ("SmolLM2 135M", "Gemma 3 270M", "MiniLM")


def tables(summary):
    """Yield (name, header, rows) of all tables; cells are strings."""
    for kind in KINDS:
        if summary["means"][kind]:
            yield f"{kind} means", *_means(summary, kind)
            yield f"{kind} records", *_records(summary, kind)
            yield f"{kind} scores", *_scores(summary, kind)
            yield f"{kind} chosen", *_chosen(summary, kind)
    if summary["cut"]:
        yield "cut scores", *_cut(summary)
    if summary["few"]:
        yield "few means", *_few(summary)


def claims(summary):
    """The seed's claim, kind by kind and model by model: bar -> reached."""
    found = {}
    for kind in KINDS:
        for model in LLM if summary["means"][kind] else ():
            mean = summary["means"][kind][f"{model}, chosen"]
            for group in GROUPS:
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
    """Fill the page's blocks, and write the plots into images/ beside it."""
    images = page.parent / "images"
    images.mkdir(exist_ok=True)
    blocks = {"made on": _made_on(summary)}
    for name, header, rows in tables(summary):
        blocks[name] = markdown(header, rows)
    for name, (path, alt) in seed_plots.draw(summary, images).items():
        blocks[f"{name} plot"] = f"![{alt}](images/{path.name})"

    fill(page, blocks)


def fill(page, blocks):
    """Write blocks into a page: name -> Markdown. Other blocks stay as they are."""
    text = page.read_text()
    for name, content in blocks.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        before, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise ValueError(f"{page} has no {begin} ... {end}.")
        text = f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}"
    page.write_text(text)


def _made_on(summary):
    """When, where and with what the figures were made."""
    versions = ", ".join(f"{name} {v}" for name, v in summary["versions"].items())
    return (
        f"The figures were made on {summary['date']} with `{summary['command']}`, on "
        f"one thread of a shared machine with {summary['cores']} cores "
        f"({summary['machine']}; {versions}). The intervals are the middle 95 % of "
        f"{summary['draws']:,} bootstrap samples of the test items."
    )


def _methods(summary, kind):
    """Methods of a kind: classical, usual, then each model's rows."""
    there = list(summary["means"][kind])
    first = [m for m in (*CLASSICAL, *USUAL) if m in there]
    return first + [m for m in there if m not in first]


def _sets(summary, kind):
    return {n: s for n, s in summary["sets"].items() if s["kind"] == kind}


def _means(summary, kind):
    """Each method's mean over sets, also compared with the best of each group."""
    means = summary["means"][kind]
    best = {group: means["word2vec"][f"against_{group}"]["best"] for group in GROUPS}
    rows = [
        [
            method,
            _interval(means[method]),
            *(
                ""
                if method == other
                else _difference(means[method][f"against_{group}"])
                for group, other in best.items()
            ),
        ]
        for method in _methods(summary, kind)
    ]
    title = f"{METRICS[kind]}, mean of {len(_sets(summary, kind))} sets"
    return [title, "score", *(f"vs. {other}" for other in best.values())], rows


def _records(summary, kind):
    """On how many sets each method won, tied and lost."""
    rows = []
    for method in _methods(summary, kind):
        mean = summary["means"][kind][method]
        counts = [", ".join(map(str, mean[f"record_{group}"])) for group in GROUPS]
        rows.append([method, *counts])
    return ["won, tied, lost against", "word2vec", "best classical", "best usual"], rows


def _scores(summary, kind):
    """One row a set, one column a method; the best of a row is bold."""
    methods = _methods(summary, kind)
    rows = []
    for name, facts in _sets(summary, kind).items():
        values = [facts["methods"][m]["score"] for m in methods]
        cells = [f"**{v:.1f}**" if v == max(values) else f"{v:.1f}" for v in values]
        rows.append([name, *_sizes(facts), *cells])
    sizes = {
        "classification": ["train", "test", "classes", "largest class"],
        "similarity": ["pairs"],
        "retrieval": ["documents", "queries"],
    }[kind]
    return ["set", *sizes, *methods], rows


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
    return ["chosen layer and pooling", *LLM], rows


def _cut(summary):
    """TF-IDF of whole texts and of what MiniLM reads, beside MiniLM."""
    methods = ("TF-IDF", "MiniLM, mean", "MiniLM, chosen")
    rows = []
    for name, accuracy in summary["cut"].items():
        known = summary["sets"][name]["methods"]
        whole, *others = (f"{known[method]['score']:.1f}" for method in methods)
        rows.append([name, whole, f"{accuracy:.1f}", *others])
    header = [METRICS["classification"], "TF-IDF", "TF-IDF of the first 128 tokens"]
    return [*header, *methods[1:]], rows


def _few(summary):
    few = summary["few"]
    names = sorted(set.intersection(*(set(sets) for sets in few.values())))
    full = _sets(summary, "classification")
    shots = sorted(few, key=int)
    rows = []
    for method in _methods(summary, "classification"):
        row = [method]
        for n in shots:
            scores, deviations = zip(*(few[n][s][method] for s in names), strict=True)
            row.append(f"{_average(scores):.1f} ± {_average(deviations):.1f}")
        row.append(
            f"{_average([full[s]['methods'][method]['score'] for s in names]):.1f}"
        )
        rows.append(row)
    title = f"{METRICS['classification']}, mean of {len(names)} sets"
    return [title, *(f"{n} per class" for n in shots), "all"], rows


def _average(values):
    return sum(values) / len(values)


def _interval(value):
    return f"{value['score']:.1f} ({value['low']:.1f} to {value['high']:.1f})"


def _difference(value):
    return f"{value['score']:+.1f} ({value['low']:+.1f} to {value['high']:+.1f})"


def markdown(header, rows):
    """A table of strings."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
