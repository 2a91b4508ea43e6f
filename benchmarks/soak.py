"""What faults cost a cache: never a wrong vector, an obscure error or an endless wait.

Each attempt makes one fault and uses the cache as a transform and its user do:

- ``kills``: a writer is killed (SIGKILL) at a random moment; the next goes on behind it.
- ``flips``: one bit of a small database is flipped, in turn each that holds something of
  any table or index.
- ``garbled`` and ``cut``: a part of the file is overwritten, or its end is missing; then
  `clear` must make a cache that works.
- ``full``: the disk takes no more bytes while a writer writes; then `prune` and `clear`
  must work.
- ``together``: threads of several processes want the same texts at once; each text is
  encoded once.

Counted are vectors that are not those of their key ("wrong"), rows that were acknowledged
and that the fault can't have hit ("lost"), errors that aren't a sentence of the cache's
("raw"), and attempts that took over a minute ("endless"). Some parts also count caches
that `verify` finds damaged at the end ("not ok"), vectors that were found damaged by a
look-up but not by `verify` ("not seen"), room that `prune` or `clear` didn't make ("not
freed"), and texts that were encoded more than once ("encoded twice"). All these must be
0 in every part; the other numbers tell how much was tried.

    python benchmarks/soak.py [--small] [--only flips kills ...]
"""

import itertools
import json
import os
import random
import re
import resource
import signal
import threading
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import harness
import numpy as np

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache.connections import FILE
from sklearn_llm2vec._encode.block import Block
from sklearn_llm2vec._estimator.vectors import find_vectors

FAULTS = ("wrong", "lost", "raw", "endless")
OF_SOME_PARTS = ("not ok", "not seen", "not freed", "encoded twice")
PATIENCE_SECONDS = 60
ROWS, DIM = 8, 16
SPACES = ("a" * 64, "b" * 64)
CELLS = ((1, "mean"), (2, "max"))


def keys_of(block):
    return [n.to_bytes(16, "big") for n in range(block * ROWS, (block + 1) * ROWS)]


def vectors_of(space, block, cell):
    """Vectors that follow from what they are stored under."""
    seed = [SPACES.index(space), block, *map(ord, str(cell))]
    return np.random.default_rng(seed).random((ROWS, DIM), np.float32)


def put(cache, space, block):
    cells = {cell: vectors_of(space, block, cell) for cell in CELLS}
    return cache.put_many(space, keys_of(block), cells)


def look_up(cache, blocks, counts):
    """How many rows of the blocks are found; wrong ones are counted."""
    n_found = 0
    for (space, block), cell in itertools.product(blocks, CELLS):
        out = np.zeros((ROWS, DIM), np.float32)
        found = cache.get_many(space, keys_of(block), *cell, out, count=False)
        right = (out == vectors_of(space, block, cell)).all(1)
        counts["wrong"] += int((found & ~right).sum())
        n_found += int((found & right).sum())
    return n_found


def all_blocks(n_blocks):
    return [(space, block) for space in SPACES for block in range(n_blocks)]


class Endless(BaseException):
    """An attempt took too long. As no Exception, it passes through whatever it meets."""


@contextmanager
def attempt(counts):
    """One attempt: what it raises is counted, and so is a wait without end."""

    def give_up(*args):
        raise Endless

    counts["attempts"] += 1
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    except Endless:
        counts["endless"] += 1
        for pid in list(children):
            end(pid)
    except Exception as error:
        counts["raw"] += 1
        print(f"raw: {error!r}", flush=True)
    finally:
        signal.alarm(0)


def said(counts, call, name="sentences"):
    """The result of a call; None where it says in a sentence why there is none."""
    try:
        return call()
    except (ValueError, OSError) as error:
        if not {"EmbeddingCache", "cache"} & set(re.findall(r"\w+", str(error))):
            raise
        counts[name] += 1
        return None


children = set()  # those that may still run


def end(pid):
    """Kill a child; whether it was still running until then."""
    children.discard(pid)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def join(pid):
    """Wait for a child; whether it ended well."""
    _, status = os.waitpid(pid, 0)
    children.discard(pid)
    return status == 0


def in_child(function, *args):
    """The process id of a forked child that calls a function."""
    pid = os.fork()
    children.add(pid)
    if pid == 0:
        status = 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                function(*args)
            status = 0
        finally:
            os._exit(status)
    return pid


# --- kill -9 -------------------------------------------------------------------------


def write_blocks(folder, start, pipe):
    cache = EmbeddingCache(folder)
    for block in itertools.count(start):
        if not put(cache, SPACES[0], block):
            raise RuntimeError("a block wasn't stored")
        os.write(pipe, block.to_bytes(4, "big"))


def soak_kills(folder, args, counts):
    rng = random.Random(args.seed)
    next_block = 0
    for _ in range(args.kills):
        with attempt(counts):
            here, there = os.pipe()
            pid = in_child(write_blocks, folder, next_block, there)
            os.close(there)
            first = os.read(here, 4)
            time.sleep(rng.uniform(0, 0.1))
            counts["raw"] += not end(pid)  # it ended by an error of its own
            told = bytearray(first)
            while more := os.read(here, 65536):
                told += more
            os.close(here)
            acknowledged = len(told) // 4
            mine = [(SPACES[0], next_block + n) for n in range(acknowledged)]
            with EmbeddingCache(folder) as cache:
                found = look_up(cache, mine, counts)
                counts["lost"] += len(mine) * ROWS * len(CELLS) - found
            counts["acknowledged"] += acknowledged
            next_block += acknowledged + 1
    with EmbeddingCache(folder) as cache:
        counts["not ok"] += not cache.verify()["ok"]
        every = [(SPACES[0], block) for block in range(next_block)]
        at_end = look_up(cache, every, counts)
        counts["lost"] += max(0, counts["acknowledged"] * ROWS * len(CELLS) - at_end)


# --- damage --------------------------------------------------------------------------


def fill(folder, n_blocks):
    with EmbeddingCache(folder) as cache:
        for space, block in all_blocks(n_blocks):
            put(cache, space, block)
        cache.describe(SPACES[0], {"model": "m"})
    return folder / FILE


def used_bits(content):
    """Numbers of the bits of all pages that hold something."""
    size = int.from_bytes(content[16:18], "big")
    yield from range(8 * 100)  # the header of the file
    for start in range(0, len(content), size):
        page = content[start : start + size]
        head_at = 100 if start == 0 else 0
        kind = page[head_at]
        if kind not in (2, 5, 10, 13):  # a page of a long value, or a free one
            continue
        n_cells = int.from_bytes(page[head_at + 3 : head_at + 5], "big")
        head = (12 if kind in (2, 5) else 8) + 2 * n_cells
        cells_at = int.from_bytes(page[head_at + 5 : head_at + 7], "big")
        for byte in (*range(head_at, head_at + head), *range(cells_at, size)):
            yield from range(8 * (start + byte), 8 * (start + byte) + 8)


def soak_flips(folder, args, counts):
    path = fill(folder, 1)
    good = path.read_bytes()
    bits = list(used_bits(good))
    for bit in bits[:: args.every_bit]:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with attempt(counts), EmbeddingCache(folder) as cache:
            found = said(
                counts, lambda: look_up(cache, all_blocks(1), counts), "refused"
            )
            if found != len(SPACES) * ROWS * len(CELLS):
                counts["made again"] += 1
                verified = said(counts, cache.verify)
                counts["not seen"] += bool(verified and verified["ok"])


def soak_garbled(folder, args, counts):
    def garble(content, rng):
        damaged = np.frombuffer(content, np.uint8).copy()
        start = int(rng.integers(0, len(damaged))) if rng.random() < 0.7 else 0
        part = damaged[start : start + int(rng.integers(1, 9000))]
        part[:] = rng.integers(0, 256, len(part))
        return damaged.tobytes()

    _soak_files(folder, args, counts, garble)


def soak_cut(folder, args, counts):
    def cut(content, rng):
        return content[: int(rng.integers(0, len(content)))]

    _soak_files(folder, args, counts, cut)


def _soak_files(folder, args, counts, damage):
    path = fill(folder, 20)
    good = path.read_bytes()
    for seed in range(args.files):
        path.write_bytes(damage(good, np.random.default_rng([args.seed, seed])))
        with attempt(counts), EmbeddingCache(folder) as cache:
            said(counts, lambda: look_up(cache, all_blocks(20), counts), "refused")
            said(counts, lambda: put(cache, SPACES[0], 99), "refused")
            for call in (cache.info, cache.verify):
                said(counts, call)
            said(counts, lambda: cache.prune(max_bytes=5000))
            cache.clear()
            counts["cleared"] += 1
            stored = put(cache, SPACES[0], 0) and put(cache, SPACES[1], 0)
            found = look_up(cache, all_blocks(1), counts)
            counts["lost"] += len(SPACES) * ROWS * len(CELLS) - found
            counts["not ok"] += not stored or not cache.verify()["ok"]


# --- a full disk ---------------------------------------------------------------------


def write_until_full(folder, limit, pipe):
    """Put blocks until files may grow no more; then make room and go on."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    counts = Counter()
    cache = EmbeddingCache(folder)
    block = 0
    while block < 5000 and put(cache, SPACES[block % 2], block):
        block += 1
    counts["full"] += block < 5000
    mine = [(SPACES[n % 2], n) for n in range(block)]
    found = look_up(cache, mine, counts)
    counts["lost"] += len(mine) * ROWS * len(CELLS) - found
    freed = cache.prune(space=SPACES[1])
    counts["not freed"] += block > 1 and not freed
    kept = mine[::2]
    counts["lost"] += len(kept) * ROWS * len(CELLS) - look_up(cache, kept, counts)
    cache.clear()
    counts["not freed"] += not put(cache, SPACES[0], 0)
    counts["not ok"] += not cache.verify()["ok"]
    os.write(pipe, json.dumps(counts).encode())


def soak_full(folder, args, counts):
    rng = random.Random(args.seed)
    for number in range(args.disks):
        with attempt(counts):
            here, there = os.pipe()
            limit = rng.randrange(150_000, 1_500_000)
            pid = in_child(write_until_full, folder / str(number), limit, there)
            os.close(there)
            told = os.read(here, 65536)
            os.close(here)
            counts["raw"] += not join(pid)
            counts.update(json.loads(told or "{}"))


# --- threads and processes -----------------------------------------------------------


class Numbers:
    """A source whose vectors are the numbers that its texts are."""

    layer, pooling, name, device = 1, "mean", "numbers", "cpu"
    fingerprint, hidden_size = SPACES[0], DIM
    always_kept, kept_in_search, is_lendable = ([], []), None, False
    max_length = 512

    def check_texts(self, texts):
        pass

    def describe(self):
        return {"model": "numbers"}

    def is_ready(self, depth):
        return True

    def encoder(self, depth):
        return SimpleNamespace(encode=self.encode, n_cut=0, ran_out=None)

    def encode(self, texts, layers, poolings):
        for start in range(0, len(texts), 20):
            rows = np.arange(start, min(start + 20, len(texts)))
            time.sleep(0.002)
            vectors = self.vectors([texts[i] for i in rows])
            yield Block(rows, {(1, "mean"): vectors}, len(rows))

    @staticmethod
    def vectors(texts):
        numbers = np.array([int(text) for text in texts], np.float32)
        return np.repeat(numbers[:, None], DIM, axis=1)


N_THREADS = 4


def texts_of(thread, seed, n_texts):
    """The share of a thread of all texts, in an order of its own."""
    numbers = np.random.default_rng([seed, thread]).permutation(n_texts)
    return [str(n) for n in numbers[: 2 * n_texts // 3]]


def want_texts(folder, n_texts, seed, pipe):
    """Threads of one process, each with its share of the texts in another order."""
    cache, counts = EmbeddingCache(folder), Counter()

    def work(number):
        texts = texts_of(number, seed, n_texts)
        try:
            vectors, _ = find_vectors(texts, Numbers(), cache, verbose=False)
            counts["wrong"] += int((vectors != Numbers.vectors(texts)).any(1).sum())
        except Exception as error:
            counts["raw"] += 1
            print(f"raw: {error!r}", flush=True)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(pipe, json.dumps(counts).encode())


def soak_together(folder, args, counts):
    n_texts = 300
    for number in range(args.crowds):
        place = folder / str(number)
        with attempt(counts):
            pipes, pids, wanted = [], [], set()
            for process in range(4):
                here, there = os.pipe()
                seed = 100 * args.seed + 10 * number + process
                for thread in range(N_THREADS):
                    wanted.update(texts_of(thread, seed, n_texts))
                pids.append(in_child(want_texts, place, n_texts, seed, there))
                os.close(there)
                pipes.append(here)
            for here, pid in zip(pipes, pids, strict=True):
                told = os.read(here, 65536)
                os.close(here)
                counts["raw"] += not join(pid)
                counts.update(json.loads(told or "{}"))
            with EmbeddingCache(place) as cache:
                info = cache.info()
                counts["lost"] += len(wanted) - info["texts"]
                counts["encoded twice"] += info["texts_encoded"] - info["texts"]
                counts["not ok"] += not cache.verify()["ok"]


PARTS = {
    "kills": soak_kills,
    "flips": soak_flips,
    "garbled": soak_garbled,
    "cut": soak_cut,
    "full": soak_full,
    "together": soak_together,
}


def main():
    args = harness.read_sizes(
        __doc__,
        only=(list(PARTS), list(PARTS)),
        kills=(200, 10),
        every_bit=(1, 40),
        files=(200, 20),
        disks=(50, 5),
        crowds=(20, 2),
        seed=(0, 0),
    )
    harness.need_linux()
    if unknown := set(args.only) - set(PARTS):
        harness.skip(f"no part {sorted(unknown)}; there are {', '.join(PARTS)}")
    found = {}
    for name in args.only:
        started, counts = time.perf_counter(), Counter()
        with harness.new_folder() as folder:
            PARTS[name](folder / "cache", args, counts)
        counts["seconds"] = round(time.perf_counter() - started)
        found[name] = {**dict.fromkeys(("attempts", *FAULTS), 0), **counts}
        print(name, found[name], flush=True)
    harness.print_table(
        ["part", "attempts", *FAULTS],
        [[n, *(c[f] for f in ("attempts", *FAULTS))] for n, c in found.items()],
    )
    harness.finish(
        args,
        passed={
            f"{fault}: 0": not any(counts.get(fault) for counts in found.values())
            for fault in (*FAULTS, *OF_SOME_PARTS)
        },
        **found,
    )


if __name__ == "__main__":
    main()
