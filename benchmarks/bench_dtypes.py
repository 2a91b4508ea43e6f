"""float32 and bfloat16 on this CPU: time, memory and agreement, model by model.

For MiniLM, SmolLM2-135M and Gemma 3 270M, each where its package is installed, in both
dtypes:

- seconds of `transform` without a cache on real texts of mixed length, the dtypes and
  other programs (for MiniLM in float32, bfloat16 and int8; for the GGUF files, llama.cpp)
  interleaved, medians, and the lowest cosine between a text's vectors and ours in
  float32;
- for MiniLM, Spearman's correlation on STS-Benchmark in both dtypes;
- the accuracy of a logistic regression on the features of either dtype, on each of the
  classification sets, and the standard error of the difference over the test texts;
- in a process of its own: resident memory that a loaded model adds to the imports, the
  peak while it is loaded, and both as a share of its weights' size. All layers, and a
  third of them.

Targets: bfloat16 twice as fast as float32 where the CPU has instructions for it; a peak
of at most 1.3 times the weights.

    python benchmarks/bench_dtypes.py [--small] [--models minilm smollm2 gemma3]
        [--parts speed agreement sets memory]
"""

import ctypes
import gc
import statistics
import time
from importlib.util import find_spec

import harness
import numpy as np
import runtimes
import seed_scores as scores
import seed_tasks
import torch
from seed_models import GEMMA, MINILM, SMOLLM
from throughput import by_sentence_transformers, mixed_texts

from sklearn_llm2vec import LLMEmbeddingTransformer
from sklearn_llm2vec._model.folders import read_model

DTYPES = ("float32", "bfloat16")
MAX_LENGTH = 256
MODELS = {"minilm": MINILM, "smollm2": SMOLLM, "gemma3": GEMMA}


def find_models(names):
    """Name -> (what `model` takes, its number of layers)."""
    found = {}
    for model in (MODELS[name] for name in names):
        try:
            found[model.name] = model.find(), model.n_layers
        except SystemExit:  # how a benchmark skips
            print(f"left out: {model.name} is not installed")
    return found


# --- time -----------------------------------------------------------------------------


def encoders(source, max_length=MAX_LENGTH, **settings):
    """Name -> function of texts."""
    settings |= {"cache": None, "max_length": max_length, "verbose": False}
    made = {
        dtype: LLMEmbeddingTransformer(source, dtype=dtype, **settings)
        for dtype in DTYPES
    }
    return {dtype: encoder.fit_transform for dtype, encoder in made.items()}


def peers_of_gguf(file):
    """A GGUF file by llama.cpp, if that is installed."""
    if not find_spec("llama_cpp"):
        print("left out: llama.cpp; llama-cpp-python is not installed")
        return {}
    threads = torch.get_num_threads()
    return {"llama.cpp": runtimes.by_llama_cpp(file, MAX_LENGTH, threads)}


def peers_of_minilm(root):
    """MiniLM by other programs, where they are installed."""
    folder = harness.minilm().folder
    made = {}
    if find_spec("sentence_transformers"):
        for dtype in DTYPES:
            made[f"sentence-transformers, {dtype}"] = by_sentence_transformers(
                folder, MAX_LENGTH, model_kwargs={"dtype": dtype}
            )
    missing = [
        name
        for name in ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
        if not find_spec(name)
    ]
    if missing:
        print(f"left out: ONNX Runtime and OpenVINO; {missing} are not installed")
        return made
    path = runtimes.export_onnx(folder, root / "model.onnx")
    known = mixed_texts(1000)[-300:]  # others than those that are timed
    sessions = {
        "ONNX Runtime, float32": runtimes.onnx_session(path),
        "ONNX Runtime, int8": runtimes.onnx_session(runtimes.int8_onnx(path)),
        "OpenVINO, float32": runtimes.openvino_session(path),
        "OpenVINO, bfloat16": runtimes.openvino_session(path, "bf16"),
        "OpenVINO, int8": runtimes.openvino_session(
            runtimes.int8_openvino(path, folder, known)
        ),
    }
    for name, session in sessions.items():
        made[name] = runtimes.by_runtime(folder, MAX_LENGTH, session)
    if find_spec("fastembed"):
        made["fastembed, float32"] = runtimes.by_fastembed(path, folder, MAX_LENGTH)
    return made


def speed(functions, texts, rounds):
    """Median CPU and clock seconds of each, interleaved, and the lowest cosine.

    The cosine is that of a text's vectors and those of the first function.
    """
    seconds, vectors = {name: [] for name in functions}, {}
    for function in functions.values():
        function(texts[:8])
    for _ in range(rounds):
        for name, function in functions.items():
            cpu, clock = time.process_time(), time.perf_counter()
            vectors[name] = np.asarray(function(texts))
            seconds[name].append(
                (time.process_time() - cpu, time.perf_counter() - clock)
            )
    first = next(iter(vectors.values()))
    return {
        name: (
            *(statistics.median(some) for some in zip(*times, strict=True)),
            lowest_cosine(first, vectors[name]),
        )
        for name, times in seconds.items()
    }


# --- agreement ------------------------------------------------------------------------


def lowest_cosine(one, other):
    """Of the vectors of one text in two arrays of shape (n_texts, hidden)."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / norms).min())


def stsb(function):
    """Spearman's correlation of cosines and scores on STS-Benchmark's test set."""
    from scipy.stats import spearmanr

    frame = harness.read_frame("stsb/test")
    pairs = [np.asarray(function(frame[name])) for name in ("text_a", "text_b")]
    one, other = (some / np.linalg.norm(some, axis=1, keepdims=True) for some in pairs)
    return 100 * float(spearmanr((one * other).sum(1), frame["score"])[0])


def accuracies(functions, name, size):
    """Accuracy in percent with either dtype, the difference and its standard error."""
    task = seed_tasks.load_classification(name, seed_tasks.Limits(size, size, 0, 0, 0))
    right = []
    for dtype in DTYPES:
        train, test = (functions[dtype](texts) for texts in (task.train, task.test))
        head = scores.fit_head(train, task.train_labels)
        right.append(head.predict(test) == task.test_labels)
    gain = right[1].astype(float) - right[0]
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    return [
        100 * float(n) for n in (right[0].mean(), right[1].mean(), gain.mean(), error)
    ]


# --- memory ---------------------------------------------------------------------------


def memory(source, dtype, layer):
    """Bytes of the weights, and over the imports' memory what they take and the peak."""
    from sklearn_llm2vec._model import loading

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


# --- parts: the models -> rows of a table, and which targets were reached --------------


def speed_of_all(models, args):
    rows, passed = [], {}
    texts = mixed_texts(args.texts)
    with harness.new_folder() as root:
        for name, (source, _) in models.items():
            file = read_model(source).gguf
            others = peers_of_gguf(file) if file else peers_of_minilm(root)
            ours = encoders(source, pooling="mean")  # as the others
            found = speed({**ours, **others}, texts, args.rounds)
            reference = found["float32"][0]
            for way, (cpu, clock, cosine) in found.items():
                row = [name, way, f"{cpu:.2f}", f"{clock:.2f}"]
                rows.append([*row, round(reference / cpu, 2), f"{cosine:.4f}"])
            passed[f"{name}, twice as fast"] = reference >= 2 * found["bfloat16"][0]
    header = ["model", "", "CPU s", "s", "times as fast", "lowest cosine"]
    harness.print_table(header, rows)
    return rows, passed


def agreement(models, args):
    found = []
    if MINILM.name in models:
        source, _ = models[MINILM.name]
        for dtype, function in encoders(source).items():
            found.append([dtype, round(stsb(function), 2)])
    harness.print_table(["dtype", "STS-Benchmark"], found)
    return found, {}


def accuracy_on_sets(models, args):
    rows = []
    for name, (source, _) in models.items():
        functions = encoders(source, seed_tasks.MAX_LENGTH)
        for its_name in seed_tasks.CLASSIFICATION:
            found = accuracies(functions, its_name, args.labelled)
            rows.append([name, its_name, *(round(n, 2) for n in found)])
            print(*rows[-1], flush=True)
        mean = np.mean([row[2:5] for row in rows if row[0] == name], axis=0)
        rows.append([name, "mean", *(round(float(n), 2) for n in mean), ""])
    header = ["model", "set", *DTYPES, "difference", "standard error"]
    harness.print_table(header, rows)
    return rows, {}


def memory_of_all(models, args):
    rows, passed = [], {}
    for name, (source, n_layers) in models.items():
        for dtype in DTYPES:
            for layer in (n_layers, -(-n_layers // 3)):
                weights, held, peak = harness.call_in_new_process(
                    memory, source, dtype, layer
                )
                mb = [round(n / 2**20) for n in (weights, held, peak)]
                rows.append([name, dtype, layer, *mb, round(peak / weights, 2)])
                key = f"{name}, {dtype}, {layer} layers, peak"
                passed[key] = peak <= 1.3 * weights
    header = ["model", "dtype", "layers", "weights MB", "held MB", "peak MB"]
    harness.print_table([*header, "of weights"], rows)
    return rows, passed


PARTS = {
    "speed": speed_of_all,
    "agreement": agreement,
    "sets": accuracy_on_sets,
    "memory": memory_of_all,
}


def main():
    args = harness.read_sizes(
        __doc__,
        texts=(400, 40),
        rounds=(5, 2),
        labelled=(600, 60),
        models=([*MODELS], [*MODELS]),
        parts=([*PARTS], [*PARTS]),
    )
    harness.need_linux()
    models, figures, passed = find_models(args.models), {}, {}
    for part in args.parts:
        figures[part], reached = PARTS[part](models, args)
        passed.update(reached)
    harness.finish(args, passed=passed, **figures)


if __name__ == "__main__":
    main()
