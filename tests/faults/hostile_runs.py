"""Runs a transformer on each hostile folder, in a process of its own with limits.

    python tests/faults/hostile_runs.py folders declared adapters ggufs

prints one JSON line a case: its group, its name, and what came of it. "right", "other"
(vectors of another model), "refused", or what shouldn't be: "wrong", "raw" (an error that
isn't meant for users), "hangs", "killed".
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

# A process with threads of torch's can't be forked.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import hostile_folders  # noqa: E402

TEXTS = ["a small card", "the dog runs aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ""]
# Of computing: on a busy machine the same work takes many times longer by the clock.
SECONDS = 20
# By the clock, for what waits and computes nothing.
MOST_SECONDS = 120
# Of address space on top of what the process has when a case begins.
MEMORY = 3 * 2**30
# One of them is in every sentence that is meant for users.
SENTENCE = (
    "must",
    "doesn't exist",
    "was found in",
    "lacks",
    "can be",
    "Choose",
    "Set '",
)
GROUPS = {
    "folders": hostile_folders.FOLDERS,
    "declared": hostile_folders.DECLARED,
    "adapters": hostile_folders.ADAPTERS,
    "ggufs": hostile_folders.GGUFS,
}


def good_folder(group, place):
    """The folder that a group's cases spoil."""
    from conftest import llama_config, save_model
    from gguf_files import save_gguf, small_llama
    from sentence_transformers_folders import declare

    folder = place / f"good-{group}"
    if group == "ggufs":
        folder.mkdir()
        save_gguf(folder / "model.gguf", small_llama())
        return folder
    save_model(folder, llama_config(), "llama")
    if group == "declared":
        declare(folder, prompts={"query": "a "}, default="query")
    if group == "adapters":
        import peft
        import transformers

        network = transformers.AutoModel.from_pretrained(folder)
        config = peft.LoraConfig(r=4, target_modules=["q_proj"])
        wrapped = peft.get_peft_model(network, config)
        wrapped.save_pretrained(place / "good-adapter")
    return folder


def vectors(group, folder, place, settings=()):
    from sklearn_llm2vec import LLMEmbeddingTransformer

    model = folder
    if group == "adapters":
        settings = {**dict(settings), "adapters": str(folder)}
        model = place / "good-adapters"
    if group == "ggufs":
        model = folder / "model.gguf"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LLMEmbeddingTransformer(
            str(model), cache=None, verbose=False, **dict(settings)
        ).fit_transform(TEXTS)


def outcome(group, case, folder, place, good):
    import numpy as np

    try:
        case.spoil(folder)
        got = vectors(group, folder, place, case.settings)
    except (ValueError, OSError, ImportError) as error:
        raw = isinstance(error, (json.JSONDecodeError, UnicodeError))
        said = str(error)
        if raw or type(error).__module__ not in ("builtins", "sklearn_llm2vec"):
            return "raw", f"{type(error).__name__}: {said}"
        if not any(words in said for words in SENTENCE):
            return "raw", f"{type(error).__name__}: {said}"
        if len(said) > 3000 or any(ord(c) < 32 and c not in "\n\t" for c in said):
            return "raw", f"unprintable or long: {said!r}"[:500]
        return "refused", said
    except BaseException as error:
        return "raw", f"{type(error).__name__}: {error}"
    if not np.isfinite(got).all():
        return "wrong", "not finite"
    if got.shape == good.shape and np.array_equal(got, good):
        return "right", ""
    return ("wrong" if case.same else "other"), "other vectors"


def run(group, case, place, good):
    """The outcome of a case, found in a child of this process."""
    source = place / ("good-adapter" if group == "adapters" else f"good-{group}")
    folder = place / "case"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        try:
            came, said = outcome(group, case, folder, place, good)
            answer = came, said[:2000]
        except BaseException as error:
            answer = "raw", repr(error)
        os.write(theirs, json.dumps(answer).encode()[:60_000])
        os._exit(0)
    os.close(theirs)
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ours)
        return "hangs", f"after {MOST_SECONDS} s"
    with os.fdopen(ours) as pipe:
        said = pipe.read()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return "hangs", f"after {SECONDS} s of computing"
    return json.loads(said) if said else ("killed", f"status {status}")


def outcomes(groups, every=1, only=""):
    """Yield a dict for each case of some groups, or for every so-many-th."""
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        os.environ["SKLEARN_LLM2VEC_CACHE"] = str(place / "cache")
        for group in groups:
            source = good_folder(group, place)
            if group == "adapters":
                source = place / "good-adapter"
            good = vectors(group, source, place)
            for case in [c for c in GROUPS[group] if only in c.name][::every]:
                start = time.monotonic()
                came, said = run(group, case, place, good)
                seconds = round(time.monotonic() - start, 2)
                names = {"group": group, "case": case.name}
                yield {**names, "came": came, "said": said, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", default=list(GROUPS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the cases' names")
    args = parser.parse_args()
    for one in outcomes(args.groups, args.every, args.only):
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main()
