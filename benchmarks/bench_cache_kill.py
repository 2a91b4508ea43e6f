"""What SIGKILL costs a cache: nothing that was acknowledged.

A writer puts blocks of 64 vectors with 384 features and tells the number of each block
once `put_many` has returned. It is killed (SIGKILL, as by an out-of-memory killer) at a
random moment, 20 times. After each kill every acknowledged row must be there with the
very bytes that follow from its number, and `verify` must find no damage. The next writer
goes on behind the last row of the one before; the last one isn't killed and must finish.
A block that was stored but not yet acknowledged may be there too: "extra".

    python benchmarks/bench_cache_kill.py

This kills processes. It says nothing about power cuts: there the log's last blocks may
be missing (``synchronous = NORMAL``), but not the blocks before them.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from sklearn_llm2vec import EmbeddingCache

ROWS, DIM, CELL, SPACE = 64, 384, (12, "mean"), "kill"


def keys_of(block):
    return [n.to_bytes(16, "big") for n in range(block * ROWS, (block + 1) * ROWS)]


def vectors_of(block):
    """Vectors that follow from the numbers of their rows."""
    rows = range(block * ROWS, (block + 1) * ROWS)
    return np.stack([np.random.default_rng(n).random(DIM, np.float32) for n in rows])


def is_there(cache, block):
    """Whether all rows of the block are there; wrong bytes raise."""
    out = np.zeros((ROWS, DIM), np.float32)
    found = cache.get_many(SPACE, keys_of(block), *CELL, out, count=False)
    if out[found].tobytes() != vectors_of(block)[found].tobytes():
        raise AssertionError(f"block {block} came back with other bytes")
    if found.any() and not found.all():
        raise AssertionError(f"block {block} is there in part")
    return bool(found.all())


def write(path, start, n_blocks):
    cache = EmbeddingCache(path)
    for block in range(start, start + n_blocks):
        if cache.put_many(SPACE, keys_of(block), {CELL: vectors_of(block)}) == 0:
            raise RuntimeError(f"block {block} wasn't stored")
        print(block, flush=True)


def run_writer(path, start, n_blocks, kill_after=None):
    """Blocks that a writer acknowledged, and its exit status."""
    command = [sys.executable, __file__, "--write", path, str(start), str(n_blocks)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    acked = [int(writer.stdout.readline())]
    if kill_after is not None:
        timer = threading.Timer(kill_after, writer.kill)
        timer.start()
    # A line that the kill cut short isn't an acknowledgement.
    acked += [int(line) for line in writer.stdout if line.endswith("\n")]
    return acked, writer.wait()


def main(n_kills, seed):
    rng = random.Random(seed)
    started = time.perf_counter()
    n_acked = n_lost = n_extra = n_damaged = n_killed = first = 0
    print(f"{'kill':>4} {'after s':>8} {'acked':>6} {'extra':>6} {'lost':>5} damaged")
    with tempfile.TemporaryDirectory() as path:
        for number in range(n_kills + 1):
            last = number == n_kills
            wait = None if last else rng.uniform(0.2, 1.0)
            acked, status = run_writer(path, first, 50 if last else 10**6, wait)
            if status != (0 if last else -signal.SIGKILL):
                raise RuntimeError(f"The writer ended with status {status}.")
            if acked != list(range(first, first + len(acked))):
                raise AssertionError("The writer skipped a block.")
            n_killed += not last
            with EmbeddingCache(path) as cache:
                lost = sum(not is_there(cache, block) for block in acked)
                next_block = acked[-1] + 1
                extra = int(is_there(cache, next_block))
                check = cache.verify()
            n_acked, n_lost, n_extra = (
                n_acked + len(acked),
                n_lost + lost,
                n_extra + extra,
            )
            n_damaged += check["damaged"] + (not check["ok"])
            when = "never" if last else f"{wait:.2f}"
            print(
                f"{'-' if last else number + 1:>4} {when:>8} {len(acked):>6} {extra:>6}"
                f" {lost:>5} {check['damaged']:>7}",
                flush=True,
            )
            first = next_block
        # All of them once more, after all kills.
        with EmbeddingCache(path) as cache:
            n_lost_at_end = sum(not is_there(cache, block) for block in range(first))
            texts = cache.info()["texts"]
    result = {
        "kills": n_killed,
        "acknowledged_rows": n_acked * ROWS,
        "lost_rows": max(n_lost, n_lost_at_end) * ROWS,
        "extra_rows": n_extra * ROWS,
        "damaged_rows": n_damaged,
        "texts": texts,
        "last_writer_finished": True,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(result))
    return 1 if n_lost or n_lost_at_end or n_damaged else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write(args.write[0], int(args.write[1]), int(args.write[2]))
    else:
        sys.exit(main(args.kills, args.seed))
