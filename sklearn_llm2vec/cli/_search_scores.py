"""What a search has found: a table for people, and a file of all scores."""

import csv
import io

from sklearn_llm2vec._common.whole_files import whole_file
from sklearn_llm2vec._search.estimates import estimate
from sklearn_llm2vec.cli._console import format_table

TRANSFORMER = "features__texts"  # its name in the pipeline


def _cell_of(params):
    """Layer and pooling of a candidate."""
    return params[f"{TRANSFORMER}__layer"], params[f"{TRANSFORMER}__pooling"]


def scores_table(search, comparisons):
    """The mean score of each layer and pooling, and the best of them, for people.

    Parameters
    ----------
    search : GridSearchCV
    comparisons : dict of str to ndarray of shape (n_folds,)
        What the best is compared with.

    Returns
    -------
    str
    """
    results = search.cv_results_
    cells, poolings = {}, []
    for params, score in zip(
        results["params"], results["mean_test_score"], strict=True
    ):
        layer, pooling = _cell_of(params)
        cells.setdefault(layer, {})[pooling] = score
        poolings = list(dict.fromkeys([*poolings, pooling]))
    best = search.best_index_
    layer, pooling = _cell_of(results["params"][best])
    rows = [
        [
            _layer_name(k),
            *(
                f"{scores[p]:.4f}{'*' if (k, p) == (layer, pooling) else ' '}"
                for p in poolings
            ),
        ]
        for k, scores in cells.items()
    ]
    header = ["layer", *(f"{pooling} " for pooling in poolings)]
    score, deviation = (results[f"{n}_test_score"][best] for n in ("mean", "std"))
    return (
        f"{search.scoring}, mean of {search.n_splits_} folds\n\n"
        f"{format_table(header, rows, left=0)}\n\n"
        f"best: layer {_layer_name(layer)}, pooling {pooling}: {score:.4f} "
        f"(standard deviation over the folds {deviation:.4f})\n"
        f"It is the highest of {len(results['params'])} scores on its own folds. What to "
        f"expect on new rows:\n\n{_estimates(comparisons)}"
    )


def _estimates(comparisons):
    """A line for each comparison, with the 95 % interval of its mean."""
    rows = []
    for name, scores in comparisons.items():
        found = estimate(scores)
        interval = f"{found.low:.4f} to {found.high:.4f}"
        rows.append([name, f"{found.mean:.4f}", interval])
    return format_table(["", "mean", "95 % interval"], rows)


def _layer_name(layer):
    return ",".join(map(str, layer)) if isinstance(layer, tuple) else str(layer)


def write_results(search, path):
    """Write the score of each candidate and fold into a .csv file."""
    results = search.cv_results_
    folds = [f"split{i}_test_score" for i in range(search.n_splits_)]
    names = [f"fold_{i}" for i in range(1, len(folds) + 1)]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["layer", "pooling", "mean", "std", *names])
    for i, params in enumerate(results["params"]):
        layer, pooling = _cell_of(params)
        scores = [
            results[key][i] for key in ("mean_test_score", "std_test_score", *folds)
        ]
        rows.writerow([_layer_name(layer), pooling, *map(float, scores)])
    with whole_file(path) as file:
        file.write(text.getvalue().encode())
