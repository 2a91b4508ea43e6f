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


def token_ids(tokenizer):
    """Ids of each probe text, in full."""
    return [[int(i) for i in tokenizer(text)["input_ids"]] for text in PROBES]


def rows(vectors):
    """An array of vectors, NaN where there is none."""
    width = next(len(vector) for vector in vectors if vector is not None)
    blank = np.full(width, np.nan, np.float32)
    return np.array([blank if v is None else v for v in vectors])


def load(folder, **options):
    """The network without its head, all of its weights from the file."""
    import torch
    import transformers
    from transformers import AutoModel, AutoModelForCausalLM

    options = {"dtype": torch.float32, "output_loading_info": True, **options}
    named = json.loads((folder / "config.json").read_text())["architectures"][0]
    # AutoModel would want the decoder of an encoder that was saved alone.
    alone = named.endswith("EncoderModel")
    factory = getattr(transformers, named) if alone else AutoModel
    network, report = factory.from_pretrained(folder, **options)
    missing = [name for name in report["missing_keys"] if "pooler" not in name]
    if missing:
        # transformers 4.57 finds no weight of Gemma 3's text model under its own name.
        network, report = AutoModelForCausalLM.from_pretrained(folder, **options)
        missing, network = report["missing_keys"], network.model
    if missing:
        raise ValueError(f"weights are missing: {sorted(missing)[:3]}")
    return network.eval()


def vectors_of_states(family, folder, tokenizer):
    """Pooled last hidden states, one text at a time."""
    import torch

    network = load(folder, **family.by.get("options", {}))
    if getattr(network.config, "is_encoder_decoder", False):
        if hasattr(network, "decoder"):
            network = network.get_encoder()
    positions = getattr(network.config, "max_position_embeddings", None) or 512
    limit = min(512, tokenizer.model_max_length, positions)
    made = []
    for text in PROBES:
        ids = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        if not ids:
            made.append(None)
            continue
        with torch.no_grad():
            states = network(input_ids=torch.tensor([ids])).last_hidden_state[0]
        pool = {"mean": states.mean(0), "first": states[0], "last": states[-1]}
        made.append(pool[family.by["pooling"]].numpy())
    return rows(made)


def vectors_of_sentence_transformers(family, folder):
    """What encode returns, one text at a time."""
    from sentence_transformers import SentenceTransformer, __version__

    by = family.by
    model = SentenceTransformer(
        str(folder),
        device="cpu",
        trust_remote_code=family.remote_code,
        truncate_dim=by.get("truncate_dim"),
        model_kwargs=by.get("options", {}),
    )
    if "include_prompt" in by:
        model.set_pooling_include_prompt(by["include_prompt"])
    if by.get("bidirectional"):
        see_everything(model[0].auto_model)
    told = {key: by[key] for key in ("prompt", "prompt_name") if key in by}
    told["normalize_embeddings"] = by.get("normalize", False)
    named = by.get("prompt_name", model.default_prompt_name)
    prompt = by.get("prompt") or model.prompts.get(named) or ""
    strips = int(__version__.split(".")[0]) < 6
    made = []
    for text in PROBES:
        if strips and (prompt + text).strip() != prompt + text:
            # Up to version 5 white space around a text was cut off.
            made.append(None)
            continue
        try:
            made.append(model.encode(text, **told))
        except (RuntimeError, IndexError, ValueError):  # a text without tokens
            made.append(None)
    # No token counts: zeros, whatever the text.
    return rows([None if v is not None and not v.any() else v for v in made])


def see_everything(network):
    """Attention of a decoder to all tokens, as the code that such models bring has it."""
    import torch

    forward = network.forward

    def bidirectional(input_ids=None, attention_mask=None, **told):
        n = input_ids.shape[1]
        return forward(
            input_ids=input_ids, attention_mask=torch.zeros(1, 1, n, n), **told
        )

    network.forward = bidirectional


def vectors_of_model2vec(folder):
    """What encode returns; the package is only needed for these families."""
    from model2vec import StaticModel

    model = StaticModel.from_pretrained(folder)
    return rows([None if not v.any() else v for v in model.encode(PROBES)])


SEPARATOR = "!@#$%^&*()"


def vectors_of_llm2vec(family, folder, tokenizer):
    """What the code of the LLM2Vec checkpoints makes of a text, step by step.

    The instruction is joined to the text, the chat's words are put around both; counted
    are as many tokens from the end as the text with the words behind it has alone. Of a
    long text words are left out until it has 400 tokens. Compared with llm2vec 0.2.3
    itself under transformers 4.44, the vectors of all probe texts are the same.
    """
    import torch
    from peft import PeftModel

    network = load(folder)
    for stage in family.by["stages"]:
        network = PeftModel.from_pretrained(network, folder / stage).merge_and_unload()
    see_everything(network.eval())
    before, behind = family.by.get("wrap", ("", ""))
    instruction = family.by.get("instruction")

    def count(text):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return min(len(ids), 512)

    made = []
    for text in PROBES:
        while (n := count(text)) > 400:
            words = text.split()
            text = " ".join(words[: int(len(words) * (400 / n))])
        whole = (f"{instruction.strip()} " if instruction else "") + SEPARATOR + text
        if behind:
            whole = before + whole.strip() + behind
        counted = whole.split(SEPARATOR)[1]
        ids = tokenizer(whole.replace(SEPARATOR, ""), truncation=True, max_length=512)[
            "input_ids"
        ]
        n = count(counted)
        if not n:
            made.append(None)
            continue
        with torch.no_grad():
            states = network(input_ids=torch.tensor([ids])).last_hidden_state[0]
        made.append(states[-n:].mean(0).numpy())
    return rows(made)


def record(family, folder, results):
    import transformers
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    said = {"transformers": transformers.__version__, "errors": {}}
    tokenizer = None
    try:
        if not family.by.get("model2vec"):  # which reads tokenizer.json its own way
            tokenizer = AutoTokenizer.from_pretrained(
                folder / family.inner, trust_remote_code=family.remote_code
            )
            said["ids"] = token_ids(tokenizer)
    except Exception as error:  # whatever a version says of a folder
        said["errors"]["ids"] = f"{type(error).__name__}: {error}"
    try:
        if family.by.get("sentence_transformers"):
            vectors = vectors_of_sentence_transformers(family, folder)
        elif family.by.get("model2vec"):
            vectors = vectors_of_model2vec(folder)
        elif family.by.get("llm2vec"):
            vectors = vectors_of_llm2vec(family, folder, tokenizer)
        else:
            vectors = vectors_of_states(family, folder, tokenizer)
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
