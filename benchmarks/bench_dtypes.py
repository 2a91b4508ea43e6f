"""float32 and bfloat16 on this CPU: time, memory and agreement, model by model.

For MiniLM, SmolLM2-135M and Gemma 3 270M, each where its package is installed, in both
dtypes:

- tokens/s of `transform` without a cache on real texts of mixed length, the dtypes (and
  sentence-transformers in both, for MiniLM) interleaved, medians;
- the lowest cosine between a text's vectors in bfloat16 and in float32, and for MiniLM
  Spearman's correlation on STS-Benchmark in both;
- in a process of its own: resident memory that a loaded model adds to the imports, the
  peak while it is loaded, and both as a share of its weights' size. All layers, and a
  third of them.

Targets: bfloat16 twice as fast as float32 where the CPU has instructions for it; a peak
of at most 1.3 times the weights.

    python benchmarks/bench_dtypes.py [--small] [--parts speed agreement memory]
"""

import ctypes
import gc
import statistics
import time

import harness
import numpy as np
from seed_models import GEMMA, MINILM, SMOLLM
from throughput import mixed_texts

from sklearn_llm2vec import LLMEmbeddingTransformer

DTYPES = ("float32", "bfloat16")
MAX_LENGTH = 256


def find_models():
    """Name -> (what `model` takes, its number of layers)."""
    found = {}
    for model in (MINILM, SMOLLM, GEMMA):
        try:
            found[model.name] = model.find(), model.n_layers
        except SystemExit:  # how a benchmark skips
            print(f"left out: {model.name} is not installed")
    return found


# --- time -----------------------------------------------------------------------------


def encoders(source):
    """Name -> function of texts."""
    made = {
        dtype: LLMEmbeddingTransformer(
            source, dtype=dtype, cache=None, max_length=MAX_LENGTH, verbose=False
        )
        for dtype in DTYPES
    }
    return {dtype: encoder.fit_transform for dtype, encoder in made.items()}


def peers():
    """sentence-transformers with MiniLM in both dtypes, where it is installed."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return {}
    made = {}
    for dtype in DTYPES:
        model = SentenceTransformer(
            str(harness.minilm().folder), device="cpu", model_kwargs={"dtype": dtype}
        )
        model.max_seq_length = MAX_LENGTH
        made[f"sentence-transformers, {dtype}"] = model.encode
    return made


def speed(functions, texts, rounds):
    """Median CPU and clock seconds of each, interleaved."""
    seconds = {name: [] for name in functions}
    for function in functions.values():
        function(texts[:8])
    for _ in range(rounds):
        for name, function in functions.items():
            cpu, clock = time.process_time(), time.perf_counter()
            function(texts)
            seconds[name].append(
                (time.process_time() - cpu, time.perf_counter() - clock)
            )
    return {
        name: tuple(statistics.median(some) for some in zip(*times, strict=True))
        for name, times in seconds.items()
    }


# --- agreement ------------------------------------------------------------------------


def lowest_cosine(functions, texts):
    one, other = (np.asarray(functions[dtype](texts)) for dtype in DTYPES)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / norms).min())


def stsb(function):
    """Spearman's correlation of cosines and scores on STS-Benchmark's test set."""
    from scipy.stats import spearmanr

    frame = harness.read_frame("stsb/test")
    pairs = [np.asarray(function(frame[name])) for name in ("text_a", "text_b")]
    one, other = (some / np.linalg.norm(some, axis=1, keepdims=True) for some in pairs)
    return 100 * float(spearmanr((one * other).sum(1), frame["score"])[0])


# --- memory ---------------------------------------------------------------------------


def memory(source, dtype, layer):
    """Bytes of the weights, and over the imports' memory what they take and the peak."""
    from sklearn_llm2vec._model import loading
    from sklearn_llm2vec._model.folders import read_model

    model = read_model(source)
    # What is imported and set up once isn't the model's.
    loading.load(model, 1, dtype, "cpu", "auto", ())
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    harness.reset_memory_peak()
    before = harness.memory_now()
    loaded = loading.load(model, layer, dtype, "cpu", "auto", ())
    gc.collect()
    return loaded.n_bytes, harness.memory_now() - before, harness.memory_peak() - before


def main():
    args = harness.read_sizes(
        __doc__,
        texts=(400, 40),
        rounds=(5, 2),
        parts=(["speed", "agreement", "memory"],) * 2,
    )
    harness.need_linux()
    times, sizes, figures, passed = [], [], {}, {}
    texts = mixed_texts(args.texts)
    for name, (source, n_layers) in find_models().items():
        functions = encoders(source)
        if "agreement" in args.parts:
            cosine = lowest_cosine(functions, texts)
            figures[f"{name}, lowest cosine"] = round(cosine, 5)
            if name == MINILM.name:
                for dtype, function in functions.items():
                    figures[f"{name}, stsb, {dtype}"] = round(stsb(function), 2)
        if "speed" in args.parts:
            others = peers() if name == MINILM.name else {}
            found = speed({**functions, **others}, texts, args.rounds)
            reference = found["float32"][0]
            for way, (cpu, clock) in found.items():
                ratio = round(reference / cpu, 2)
                times.append([name, way, f"{cpu:.2f}", f"{clock:.2f}", ratio])
            passed[f"{name}, twice as fast"] = reference >= 2 * found["bfloat16"][0]
        if "memory" in args.parts:
            for dtype in DTYPES:
                for layer in (n_layers, -(-n_layers // 3)):
                    weights, held, peak = harness.call_in_new_process(
                        memory, source, dtype, layer
                    )
                    mb = [round(n / 2**20) for n in (weights, held, peak)]
                    sizes.append([name, dtype, layer, *mb, round(peak / weights, 2)])
                    passed[f"{name}, {dtype}, {layer} layers, peak"] = (
                        peak <= 1.3 * weights
                    )
    harness.print_table(["model", "", "CPU s", "s", "times as fast"], times)
    harness.print_table(
        ["model", "dtype", "layers", "weights MB", "held MB", "peak MB", "of weights"],
        sizes,
    )
    harness.finish(args, passed=passed, times=times, sizes=sizes, **figures)


if __name__ == "__main__":
    main()
