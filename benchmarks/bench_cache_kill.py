"""What SIGKILL costs a cache: nothing that was acknowledged.

A writer puts blocks of 64 vectors with 384 features and tells the number of each block
once `put_many` has returned. It is killed (SIGKILL, as by an out-of-memory killer) at a
random moment, 20 times. The next writer goes on behind the last row of the one before;
the last one isn't killed and must finish. A block that was stored but not yet
acknowledged may be there too: "extra". Bars, after each kill and once more at the end:
every acknowledged row is there with the very bytes that follow from its number, and
`verify` finds no damage.

    python benchmarks/bench_cache_kill.py [--small]

This kills processes. It says nothing about power cuts: there the log's last blocks may
be missing (``synchronous = NORMAL``), but not the blocks before them.
"""

import random
import signal
import subprocess
import threading
import time

import harness
import numpy as np

from sklearn_llm2vec import EmbeddingCache

ROWS, DIM, CELL, SPACE = 64, 384, (12, "mean"), "kill"


def keys_of(block):
    return [n.to_bytes(16, "big") for n in range(block * ROWS, (block + 1) * ROWS)]


def vectors_of(block):
    """Vectors that follow from the numbers of their rows."""
    rows = range(block * ROWS, (block + 1) * ROWS)
    return np.stack([np.random.default_rng(n).random(DIM, np.float32) for n in rows])


def look_up(cache, block):
    """How many rows of the block are there, and how many of them with other bytes."""
    out = np.zeros((ROWS, DIM), np.float32)
    found = cache.get_many(SPACE, keys_of(block), *CELL, out, count=False)
    wrong = (out.view(np.uint32) != vectors_of(block).view(np.uint32)).any(1)
    return int(found.sum()), int((found & wrong).sum())


def write(path, start, n_blocks):
    """In a process of its own: put blocks and tell the number of each."""
    cache = EmbeddingCache(path)
    for block in range(start, start + n_blocks):
        if cache.put_many(SPACE, keys_of(block), {CELL: vectors_of(block)}) == 0:
            raise RuntimeError(f"block {block} wasn't stored")
        print("block", block, flush=True)


def run_writer(path, start, n_blocks, kill_after):
    """Blocks that a writer acknowledged; `kill_after` counts from the first of them."""
    command = harness.command_of(write, path, start, n_blocks)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        acked = []
        for line in writer.stdout:
            # A line that the kill cut short isn't an acknowledgement.
            if line.startswith("block ") and line.endswith("\n"):
                acked.append(int(line.split()[1]))
                if len(acked) == 1 and kill_after is not None:
                    threading.Timer(kill_after, writer.kill).start()
    if writer.returncode != (0 if kill_after is None else -signal.SIGKILL):
        raise RuntimeError(f"the writer ended with status {writer.returncode}")
    if acked != list(range(start, start + len(acked))):
        raise RuntimeError("the writer skipped a block")
    return acked


def main():
    args = harness.read_sizes(__doc__, kills=(20, 3), seed=(0, 0))
    harness.need_linux()
    rng = random.Random(args.seed)
    started = time.perf_counter()
    rows, next_block = [], 0
    with harness.new_folder() as root:
        path = root / "cache"
        for number in range(args.kills + 1):
            last = number == args.kills
            wait = None if last else rng.uniform(0.2, 1.0)
            acked = run_writer(path, next_block, 50 if last else 10**6, wait)
            next_block = acked[-1] + 1
            with EmbeddingCache(path) as cache:
                found, wrong = np.sum([look_up(cache, n) for n in acked], axis=0)
                extra, wrong_extra = look_up(cache, next_block)
                check = cache.verify()
            rows.append(
                {
                    "kill": "none" if last else number + 1,
                    "after s": "" if last else f"{wait:.2f}",
                    "acknowledged": len(acked) * ROWS,
                    "lost": len(acked) * ROWS - int(found),
                    "extra": extra,
                    "other bytes": int(wrong) + wrong_extra,
                    "damaged": check["damaged"] + (not check["ok"]),
                }
            )
            print(".", end="", flush=True)
        with EmbeddingCache(path) as cache:
            at_end = [look_up(cache, block) for block in range(next_block)]
            texts = cache.info()["texts"]
    harness.print_table(list(rows[0]), [row.values() for row in rows])
    total = {
        name: sum(row[name] for row in rows)
        for name in ("acknowledged", "lost", "extra", "other bytes", "damaged")
    }
    found, wrong = np.sum(at_end, axis=0)
    lost = max(total["lost"], next_block * ROWS - int(found))
    wrong = max(total["other bytes"], int(wrong))
    harness.finish(
        args,
        passed={
            "no acknowledged row is lost": lost == 0,
            "no row has other bytes": wrong == 0,
            "verify finds no damage": total["damaged"] == 0,
        },
        kills=args.kills,
        acknowledged_rows=total["acknowledged"],
        lost_rows=lost,
        extra_rows=total["extra"],
        wrong_rows=wrong,
        damaged_blocks=total["damaged"],
        texts=texts,
        seconds=round(time.perf_counter() - started, 1),
    )


if __name__ == "__main__":
    main()
