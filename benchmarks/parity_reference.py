"""Ids and vectors of the reference: run by the Python of an environment of its own.

    python benchmarks/parity_reference.py FOLDERS RESULTS NAME ...

Writes NAME.json (versions, ids of the probe texts, or what went wrong) and NAME.npz
(vectors) into RESULTS. This file knows transformers and sentence-transformers, and
nothing of the library that is measured.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from parity_families import FAMILIES
from parity_texts import PROBES


def token_ids(family, folder):
    """Ids of each probe text."""
    from transformers import AutoTokenizer

    options = {"trust_remote_code": True} if family.remote_code else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    return [[int(i) for i in tokenizer(text)["input_ids"]] for text in PROBES]


def vectors_of_states(family, folder, ids):
    """Pooled last hidden states, one text at a time."""
    import torch
    from transformers import AutoModel, AutoModelForTextEncoding

    options = {"trust_remote_code": True} if family.remote_code else {}
    factory = AutoModelForTextEncoding if family.by.get("encoder") else AutoModel
    network = factory.from_pretrained(folder, dtype=torch.float32, **options).eval()
    if getattr(network.config, "is_encoder_decoder", False) and hasattr(network, "encoder"):
        network = network.get_encoder()
    made = []
    with torch.no_grad():
        for row in ids:
            if not row:
                made.append(None)
                continue
            states = network(input_ids=torch.tensor([row[:512]])).last_hidden_state[0]
            pool = {"mean": states.mean(0), "first": states[0], "last": states[-1]}
            made.append(pool[family.by["pooling"]].numpy())
    width = next(len(vector) for vector in made if vector is not None)
    return np.array([np.full(width, np.nan) if v is None else v for v in made])


def vectors_of_sentence_transformers(family, folder):
    """What encode returns, one text at a time."""
    from sentence_transformers import SentenceTransformer

    options = {"trust_remote_code": True} if family.remote_code else {}
    model = SentenceTransformer(str(folder), device="cpu", **options)
    told = {key: family.by[key] for key in ("prompt", "prompt_name") if key in family.by}
    texts = PROBES[1:] if "no_empty" in family.by else PROBES
    return np.array([model.encode(text, **told) for text in texts])


def record(family, folder, results):
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    said = {"transformers": transformers.__version__, "errors": {}}
    try:
        said["ids"] = token_ids(family, folder)
    except Exception as error:  # whatever a version says of a folder
        said["errors"]["ids"] = f"{type(error).__name__}: {error}"
    try:
        if family.by.get("sentence_transformers"):
            vectors = vectors_of_sentence_transformers(family, folder)
        else:
            vectors = vectors_of_states(family, folder, said["ids"])
        np.savez_compressed(results / f"{family.name}.npz", vectors=vectors)
    except Exception as error:
        said["errors"]["vectors"] = f"{type(error).__name__}: {error}"
    (results / f"{family.name}.json").write_text(json.dumps(said))
    print(family.name, said["errors"] or "", flush=True)


def main():
    folders, results, *names = sys.argv[1:]
    results = Path(results)
    results.mkdir(parents=True, exist_ok=True)
    for name in names or FAMILIES:
        record(FAMILIES[name], Path(folders) / name, results)


if __name__ == "__main__":
    main()
