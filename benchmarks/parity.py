"""Vectors beside those of transformers and sentence-transformers, family by family.

Folders with the structure of published models, tiny and with random weights, are written
and encoded: by this library, with the parameters that `docs/models.md` gives for the
family, and by environments with other versions, each run by its own Python.

    python benchmarks/parity.py --build FOLDERS --reference PYTHON [--reference PYTHON]
        [--only NAME ...]

The first reference writes the folders that aren't there yet. What a reference says is
kept beside them and made anew with --again. The table says for each family the largest
difference to each reference, relative to the vector's length, over the probe texts of
`parity_texts.py`; whether the token ids are the same; and a verdict: "equal" (1e-5),
"refused" with the reason, "warns", or "WRONG".

Up to version 5, sentence-transformers cut off white space around a text. Such texts are
left out of the comparison with these versions.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from parity_families import FAMILIES, TESTED
from parity_texts import PROBES

HERE = Path(__file__).parent
BAR = 1e-5
# Probe texts whose vectors are kept for the test.
SHOWN = [3, 4, 9, 11, 16, 17, 20, 22, 27, 30]


def run(python, script, *arguments):
    """One of the other scripts, in another environment."""
    subprocess.run([python, str(HERE / script), *map(str, arguments)], check=True)


def version(python):
    """A short name of an environment: its transformers."""
    code = "import importlib.metadata as m; print(m.version('transformers'))"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def prepare(folders, references, names, again):
    """Write what isn't there; returns the folder of each reference's results."""
    folders.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not (folders / name).is_dir()]
    if missing:
        run(references[0], "parity_folders.py", folders, *missing)
    results = []
    for python in references:
        result = folders / "references" / version(python)
        open_ones = [
            name
            for name in names
            if FAMILIES[name].by and (again or not (result / f"{name}.json").exists())
        ]
        if open_ones:
            run(python, "parity_reference.py", folders, result, *open_ones)
        results.append(result)
    return results


def record(results, path):
    """Write what the test compares with: digests of ids, vectors of a few texts."""
    kept = {}
    for name in TESTED:
        ids, vectors = first_of(FAMILIES[name], results)
        if ids is not None:
            kept[f"{name}/ids"] = digests(ids)
        kept[f"{name}/vectors"] = vectors[SHOWN].astype(np.float32)
    np.savez_compressed(path, **kept)


def first_of(family, results):
    """Ids and vectors of the first reference that has them."""
    found = None, None
    for ids, vectors in recorded(family, results):
        found = tuple(
            mine if mine is not None else theirs
            for mine, theirs in zip(found, (ids, vectors), strict=True)
        )
    return found


def recorded(family, results):
    """(ids, vectors) of each reference; of one that can't know the family, Nones."""
    found = [read_result(result, family.name) for result in results]
    if family.newer:
        found[:-1] = [(None, None)] * (len(found) - 1)
    return found


def digests(ids):
    """One number for each text's ids."""
    return np.array([zlib.crc32(json.dumps(row).encode()) for row in ids], np.uint32)


def read_result(result, name):
    """(ids or None, vectors or None) of one reference."""
    if not (result / f"{name}.json").exists():
        return None, None
    said = json.loads((result / f"{name}.json").read_text())
    path = result / f"{name}.npz"
    vectors = np.load(path)["vectors"] if "vectors" not in said["errors"] else None
    return said.get("ids"), vectors


def our_ids(folder):
    """Ids of the probe texts, in full, as this library has them."""
    from sklearn_llm2vec._model.folders import read_model
    from sklearn_llm2vec._model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(read_model(folder))
    return [list(tokenizer(text)["input_ids"]) for text in PROBES]


def our_vectors(folder, parameters, texts=PROBES):
    """Vectors of texts, and what was warned of."""
    from sklearn_llm2vec import LLMEmbeddingTransformer

    told = json.loads(json.dumps(parameters).replace("{folder}", str(folder)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder = LLMEmbeddingTransformer(str(folder), cache=False, **told)
        vectors = encoder.fit_transform(texts)
    said = [str(w.message) for w in caught if "cut" not in str(w.message)]
    return vectors, said


def difference(ours, theirs, texts=PROBES):
    """Largest distance relative to the vector's length, and the text where it is."""
    if theirs is None:
        return None, None
    there = ~np.isnan(theirs).any(axis=1)
    if ours.shape != theirs.shape:
        return np.inf, ""
    lengths = np.maximum(np.linalg.norm(theirs, axis=1), 1e-30)
    distances = np.where(there, np.linalg.norm(ours - theirs, axis=1) / lengths, 0)
    worst = int(np.argmax(distances))
    return float(distances[worst]), texts[worst]


def judge(family, folder, results):
    """One line of the table, as a dict."""
    row = {"family": family.name, "like": family.like, "line": line_of(family)}
    said_elsewhere = recorded(family, results)
    row["differences"] = [None] * len(results)
    row["ids"] = "-"
    try:
        ids = our_ids(folder)
        there = [theirs for theirs, _ in said_elsewhere if theirs is not None]
        if there:
            wrong = [t for t, a, b in zip(PROBES, ids, there[0], strict=True) if a != b]
            row["ids"] = f"{len(wrong)} differ" if wrong else "equal"
            row["texts"] = wrong
    except Exception as error:  # the encoder says it again, below
        row["ids"] = type(error).__name__
    try:
        vectors, said = our_vectors(folder, family.parameters)
    except Exception as error:  # a refusal is what is judged
        reason = " ".join(str(error).split())
        row["why"] = f"{type(error).__name__}: {reason}"
        expected = family.refused and family.refused.lower() in reason.lower()
        row["verdict"] = "refused" if expected else "REFUSED"
        return row
    found = [difference(vectors, theirs) for _, theirs in said_elsewhere]
    row["differences"] = [d for d, _ in found]
    row["why"] = " | ".join(said)[:300]
    first = next(((d, text) for d, text in found if d is not None), (None, None))
    if family.refused:
        row["verdict"] = "NOT REFUSED"
    elif first[0] is None:
        row["verdict"] = "no reference"
    elif first[0] <= BAR:
        row["verdict"] = "equal, warns" if said else "equal"
    else:
        row["verdict"] = "warns" if said else "WRONG"
        row["why"] += f" at {first[1][:60]!r}"
    return row


def line_of(family):
    """The Python line that gives the family's vectors."""
    told = "".join(f", {key}={value!r}" for key, value in family.parameters.items())
    name = family.like.split(" ")[0].rstrip(",") if "/" in family.like else "folder"
    return f"LLMEmbeddingTransformer({name!r}{told})"


def show(row, names):
    shown = [f"{d:.1e}" if d is not None else "-" for d in row["differences"]]
    columns = "  ".join(f"{value:>8}" for value in shown)
    print(
        f"{row['family']:36} {columns}  {row['ids']:>10}  {row['verdict']:12} "
        f"{row.get('why', '')[:150]}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, metavar="FOLDERS")
    parser.add_argument("--reference", action="append", required=True, metavar="PYTHON")
    parser.add_argument("--only", nargs="+", default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--record", type=Path, help="write what the test compares with")
    parser.add_argument("--json", type=Path, help="write the table there, too")
    asked = parser.parse_args()
    results = prepare(asked.build, asked.reference, asked.only, asked.again)
    if asked.record:
        record(results, asked.record)
        return 0
    names = [result.name for result in results]
    columns = "  ".join(f"{name:>8}" for name in names)
    print(f"{'family':36} {columns}  {'ids':>10}  verdict")
    table = []
    for name in asked.only:
        table.append(judge(FAMILIES[name], asked.build / name, results))
        show(table[-1], names)
    counts = {}
    for row in table:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    print(", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())))
    if asked.json:
        asked.json.write_text(json.dumps(table, indent=1, ensure_ascii=False))
    return int(any(verdict.isupper() for verdict in counts))


if __name__ == "__main__":
    sys.exit(main())
