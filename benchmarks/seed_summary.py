"""From each item's result to scores, intervals and comparisons: the seed's summary.

Intervals are the middle 95 % of 1,000 bootstrap draws, with a seed, of the test texts,
pairs or queries; all methods are scored on the same draws, so a difference has an
interval of its own. That of a mean over sets says how far other items of these sets could
move it, nothing of other sets.
"""

import numpy as np
import seed_scores as scores

DRAWS = 1000
CLASSICAL = ("TF-IDF", "BM25", "word2vec", "GloVe 25d")
USUAL = ("MiniLM, CLS", "MiniLM, mean")
# Whom each method is compared with: the best of a group.
GROUPS = {"word2vec": ("word2vec",), "classical": CLASSICAL, "usual": USUAL}
KINDS = ("classification", "similarity", "retrieval")


def summarise(read):
    """All that the page shows, from the results of the jobs (name -> dict)."""
    sets, drawn = {}, {}
    for job, result in sorted(read.items()):
        if result["kind"] not in KINDS:
            continue
        for name, n_test, points, samples in items_of(job, result):
            drawn[name] = samples
            sets[name] = describe(result, points, samples, n_test)
    return {
        "draws": DRAWS,
        "seconds": round(sum(result["seconds"] for result in read.values())),
        "sets": sets,
        "means": {kind: means_over_sets(kind, sets, drawn) for kind in KINDS},
        "layers": {kind: search_by_depth(kind, read) for kind in KINDS},
        "few": few_shot(read),
        "cut": read.get("cut", {}).get("accuracies", {}),
    }


def items_of(job, result):
    """Yield (set, n_items, {method: score}, {method: scores of the bootstrap draws})."""
    methods = result["methods"]
    if result["kind"] == "similarity":
        for name, gold in result["gold"].items():
            gold = np.array(gold)
            cosines = {m: np.array(v["cosines"][name]) for m, v in methods.items()}
            rows = resamples(len(gold))
            yield (
                name,
                len(gold),
                {m: float(scores.spearman(c, gold)) for m, c in cosines.items()},
                {m: scores.spearman(c[rows], gold[rows]) for m, c in cosines.items()},
            )
        return
    key, factor = {"classification": ("right", 100), "retrieval": ("ndcg", 1)}[
        result["kind"]
    ]
    values = {m: factor * np.array(v[key], float) for m, v in methods.items()}
    rows = resamples(len(next(iter(values.values()))))
    yield (
        job,
        rows.shape[1],
        {m: float(v.mean()) for m, v in values.items()},
        {m: v[rows].mean(axis=1) for m, v in values.items()},
    )


def resamples(n):
    """Numbers of the items of each draw, (n_draws, n)."""
    return np.random.default_rng(0).integers(n, size=(DRAWS, n))


def describe(result, points, samples, n_test):
    """One set: each method with its interval, and against the best of the others."""
    facts = {
        key: result[key]
        for key in ("kind", "n_train", "n_classes", "n_documents", "majority")
        if key in result
    }
    facts["n_test"] = n_test
    kept = ("cell", "cells", "C", "f1", "features")
    methods = {
        m: {
            **interval(points[m], samples[m]),
            **{
                key: result["methods"][m][key]
                for key in kept
                if key in result["methods"][m]
            },
        }
        for m in points
    }
    for group, members in GROUPS.items():
        best = max((m for m in members if m in points), key=points.get)
        facts[f"best_{group}"] = best
        for m in points:
            difference = interval(points[m] - points[best], samples[m] - samples[best])
            methods[m][f"against_{group}"] = difference
    return {**facts, "methods": methods}


def interval(point, samples):
    """Score with the ends of its interval, to two places."""
    low, high = np.percentile(samples, [2.5, 97.5])
    return {
        "score": round(float(point), 2),
        "low": round(float(low), 2),
        "high": round(float(high), 2),
    }


def means_over_sets(kind, sets, drawn):
    """Each method's mean over the sets of a kind, and its wins, ties and losses."""
    names = [name for name, facts in sets.items() if facts["kind"] == kind]
    if not names:
        return {}
    methods = sets[names[0]]["methods"]
    points = {
        m: np.mean([sets[n]["methods"][m]["score"] for n in names]) for m in methods
    }
    samples = {m: np.mean([drawn[n][m] for n in names], axis=0) for m in methods}
    found = {m: interval(points[m], samples[m]) for m in methods}
    for group, members in GROUPS.items():
        best = max((m for m in members if m in points), key=points.get)
        for m in methods:
            found[m][f"against_{group}"] = {
                "best": best,
                **interval(points[m] - points[best], samples[m] - samples[best]),
            }
            found[m][f"record_{group}"] = record(
                sets[n]["methods"][m][f"against_{group}"] for n in names
            )
    return found


def record(differences):
    """[wins, ties, losses]; a tie is an interval that holds zero."""
    counts = [0, 0, 0]
    for difference in differences:
        counts[0 if difference["low"] > 0 else 2 if difference["high"] < 0 else 1] += 1
    return counts


def search_by_depth(kind, read):
    """Model -> pooling -> score at each layer, mean over the searches of a kind."""
    found = {}
    for result in read.values():
        if result["kind"] != kind:
            continue
        for method, facts in result["methods"].items():
            for layer, pooling, score in facts.get("search", ()):
                model = method.removesuffix(", chosen")
                lines = found.setdefault(model, {}).setdefault(pooling, {})
                lines.setdefault(layer, []).append(score)
    return {
        model: {
            pooling: [round(float(np.mean(line[k])), 2) for k in sorted(line)]
            for pooling, line in lines.items()
        }
        for model, lines in found.items()
    }


def few_shot(read):
    """Texts a class -> set -> method -> [mean accuracy, deviation over draws]."""
    found = {}
    for job, result in sorted(read.items()):
        if result["kind"] != "few":
            continue
        for n, methods in result["few"].items():
            found.setdefault(n, {})[job.removesuffix("-few")] = {
                m: [round(float(np.mean(v)), 2), round(float(np.std(v, ddof=1)), 2)]
                for m, v in methods.items()
            }
    return found
