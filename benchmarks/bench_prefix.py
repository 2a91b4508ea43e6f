"""The head that all prompts share, computed once: what it saves.

The "ke" prompt around short texts of Banking77, a causal decoder of SmolLM-135M's shape
with random weights, CPU. Compared in one run, interleaved: with the shared prefix and
without it. Bars: at least 1.5 times as fast; vectors equal to 1e-6 of the largest number
in them.

    python benchmarks/bench_prefix.py [--small]
"""

import time

import harness
import numpy as np

from sklearn_llm2vec._encode.encoder import Encoder
from sklearn_llm2vec._model.folders import read_model
from sklearn_llm2vec._model.registry import load_model
from sklearn_llm2vec._text.templates import PRESETS


def make_model(folder, n_layers, tokenizer_of):
    """A random Llama of 576 features with a real tokenizer."""
    import torch
    from transformers import AutoModel, AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=n_layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encode(encoder, texts, depth):
    """Vectors in order, seconds and tokens."""
    started = time.perf_counter()
    blocks = list(encoder.encode(texts, [depth], ["last"]))
    seconds = time.perf_counter() - started
    order = np.argsort(np.concatenate([block.rows for block in blocks]))
    vectors = np.concatenate([block.cells[depth, "last"] for block in blocks])
    return vectors[order], seconds, sum(block.n_tokens for block in blocks)


def main():
    args = harness.read_sizes(__doc__, texts=(200, 60), layers=(30, 6), rounds=(3, 2))
    tokenizer_of = harness.DATA.parent / "models" / "news-llama-4m"
    if not tokenizer_of.is_dir():
        harness.skip(f"no tokenizer in {tokenizer_of}")
    texts, _ = harness.banking_texts(args.texts)
    texts = list(dict.fromkeys(texts))
    with harness.new_folder() as root:
        make_model(root / "model", args.layers, tokenizer_of)
        model = read_model(root / "model")
        loaded = load_model(model, depth=args.layers, dtype="float32", device="cpu")
        made = {
            shares: Encoder(
                loaded,
                special_tokens=False,
                max_length=512,
                template=PRESETS["ke"].prompt,
                causal=shares,
            )
            for shares in (True, False)
        }
        for encoder in made.values():
            encode(encoder, texts[:8], args.layers)
        seconds, tokens, vectors = {True: [], False: []}, {}, {}
        for _ in range(args.rounds):
            for shares, encoder in made.items():
                found = encode(encoder, texts, args.layers)
                vectors[shares], tokens[shares] = found[0], found[2]
                seconds[shares].append(found[1])
    ratio = float(np.median(np.array(seconds[False]) / np.array(seconds[True])))
    difference = np.abs(vectors[True] - vectors[False]).max()
    relative = float(difference / np.abs(vectors[False]).max())
    harness.finish(
        args,
        passed={
            "at least 1.5 times as fast": ratio >= 1.5,
            "equal to 1e-6 of the largest number": relative <= 1e-6,
        },
        texts=len(texts),
        tokens_with_prefix_once=tokens[True],
        tokens_without=tokens[False],
        seconds_with=round(float(np.median(seconds[True])), 2),
        seconds_without=round(float(np.median(seconds[False])), 2),
        times_as_fast=round(ratio, 2),
        relative_difference=relative,
    )


if __name__ == "__main__":
    main()
