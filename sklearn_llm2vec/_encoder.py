"""The encoder: texts become blocks of pooled hidden states.

Texts are tokenised once, put into batches of one exact length, run through the layers
that are needed, and come out as blocks of rows with one float32 array for each cell
(layer, pooling). A head that all prompts share is computed once; the windows of a long
text are joined again. On a CPU several passes run side by side, one thread each: that is
faster than several threads a pass, and it is why a vector has the same bits in any batch.
This file doesn't know caches or scikit-learn.
"""

import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from sklearn_llm2vec._batching import exact_length_batches, fill_rows
from sklearn_llm2vec._blocks import Block
from sklearn_llm2vec._pooling import pool_all
from sklearn_llm2vec._prepending import PLACEHOLDER, TokenPrepending
from sklearn_llm2vec._tokens import Row, TextTokenizer
from sklearn_llm2vec._windows import NEEDED, join_windows

__all__ = ["Block", "Encoder"]

# Texts tokenised at a time: enough to find many of each length, few enough to hold.
TEXTS_AT_A_TIME = 4096
# A block is handed out after so many rows, bytes or seconds: what a crash can lose. The
# index of a cache is written all over by each block, so large ones are written less; the
# bytes limit what many layers and poolings hold.
BLOCK_ROWS = 2048
BLOCK_BYTES = 1 << 25
BLOCK_SECONDS = 2.0
# Small batches stay in a CPU's caches; an accelerator wants large ones.
CPU_TOKENS = 1024
ACCELERATOR_TOKENS = 16384


@dataclass
class Batch:
    """Rows of one exact length.

    Attributes
    ----------
    texts, windows, n_windows : ndarray of int, shape (n_rows,)
        Which text each row is of, which of its windows, and how many it has.
    rows : list of Row
    prefix : Prefix or None
        Whose ids the rows begin with; they needn't go through the model again.
    """

    texts: np.ndarray
    windows: np.ndarray
    n_windows: np.ndarray
    rows: list
    prefix: object

    def arrays(self):
        """Ids, counted tokens and places of the texts, behind the prefix.

        Returns
        -------
        ids : ndarray of int, shape (n_rows, n_tokens)
        counted : ndarray of bool, shape (n_rows, n_tokens)
        text_at : ndarray of int, shape (n_rows,)
        """
        start = len(self.prefix.ids) if self.prefix is not None else 0
        ids = np.array([row.ids[start:] for row in self.rows])
        counted = np.zeros(ids.shape, bool)
        for one, row in zip(counted, self.rows, strict=True):
            for first, stop in row.counted:
                one[first - start : stop - start] = True
        return ids, counted, np.array([row.text_at - start for row in self.rows])


class Encoder:
    """A loaded model with the settings of one space.

    Parameters
    ----------
    model : LoadedModel
    special_tokens : bool
        Whether the tokens that the tokenizer adds count in mean, weighted_mean and max.
    max_length : int
        Tokens of a row, special tokens and prompt included.
    batch_tokens : int or "auto"
        Most tokens of one pass.
    template, counts, chunk_overlap
        As `TextTokenizer` takes them.
    token_prepending : tuple of (int, int) or None
        Start and exit, as `TokenPrepending` takes them.
    shares_prefix : bool
        Whether the head of the prompts may go through the model once for all: tokens
        must see only those before them.
    """

    def __init__(
        self,
        model,
        *,
        special_tokens,
        max_length,
        batch_tokens="auto",
        template=None,
        counts="text",
        chunk_overlap=None,
        token_prepending=None,
        shares_prefix=False,
    ):
        self.model = model
        self.max_length = max_length
        on_cpu = model.device.type == "cpu"
        if batch_tokens == "auto":
            batch_tokens = CPU_TOKENS if on_cpu else ACCELERATOR_TOKENS
        self.batch_tokens = int(batch_tokens)
        self.n_cut = 0
        self._tail_rows = 1 if has_odd_widths(model.states.network) else 0
        self._tokenizer = TextTokenizer(
            model.tokenizer,
            special_tokens=special_tokens,
            max_length=max_length,
            template=template,
            counts=counts,
            chunk_overlap=chunk_overlap,
            n_added=0 if token_prepending is None else 1,
        )
        self._prepending = None
        if token_prepending is not None:
            self._prepending = TokenPrepending(model.states.network, *token_prepending)
        self._prefix = self._shared_prefix() if shares_prefix else None

    def encode(self, texts, layers, poolings):
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str, or of tuple of str
            Tuples hold the values of a template's columns.
        layers : collection of int
            Hidden states to keep, 0 (the embeddings) to the depth of the model.
        poolings : collection of str

        Yields
        ------
        Block
            Each text is in exactly one block; blocks come as they are finished.
        """
        layers, poolings = sorted(set(layers)), sorted(set(poolings))
        needed = sorted({one for name in poolings for one in NEEDED.get(name, (name,))})
        self.n_cut = 0
        long_texts = LongTexts(layers, poolings)

        def run(batch):
            ids, counted, text_at = batch.arrays()
            split = batch.n_windows.max() > 1
            wanted = needed if split else poolings
            cells = self._run(ids, counted, text_at, batch.prefix, layers, wanted)
            return batch, ids.size, cells

        finished, n_rows, n_bytes, since = [], 0, 0, time.monotonic()
        for batch, n_tokens, cells in in_parallel(
            run, self._batches(texts), self._n_passes()
        ):
            rows, cells = long_texts.add(batch, cells)
            finished.append((rows, n_tokens, cells))
            n_rows += len(rows)
            n_bytes += sum(vectors.nbytes for vectors in cells.values())
            if n_rows and (
                n_rows >= BLOCK_ROWS
                or n_bytes >= BLOCK_BYTES
                or time.monotonic() - since > BLOCK_SECONDS
            ):
                yield _joined(finished)
                finished, n_rows, n_bytes, since = [], 0, 0, time.monotonic()
        if finished:
            yield _joined(finished)

    def _n_passes(self):
        return torch.get_num_threads() if self.model.device.type == "cpu" else 1

    def _shared_prefix(self):
        ids = self._tokenizer.prefix()
        if not ids:
            return None
        # In the pool: with the caller's thread count its sums would have other bits.
        find = in_parallel(self.model.prefix, [ids], self._n_passes())
        return next(find)

    def _batches(self, texts):
        """Yield batches of one exact length each."""
        for start in range(0, len(texts), TEXTS_AT_A_TIME):
            made, n_cut = self._tokenizer(texts[start : start + TEXTS_AT_A_TIME])
            self.n_cut += n_cut
            flat = [
                (text, window, len(rows), self._with_placeholder(row))
                for text, rows in enumerate(made, start)
                for window, row in enumerate(rows)
            ]
            behind = [one for one in flat if self._is_behind_prefix(one[3])]
            alone = [one for one in flat if not self._is_behind_prefix(one[3])]
            for group, prefix in ((alone, None), (behind, self._prefix)):
                skipped = 0 if prefix is None else len(prefix.ids)
                lengths = [len(row.ids) - skipped for _, _, _, row in group]
                for chosen in exact_length_batches(lengths, self.batch_tokens):
                    texts_, windows, n_windows, rows = zip(
                        *(group[i] for i in chosen), strict=True
                    )
                    numbers = map(np.array, (texts_, windows, n_windows))
                    yield Batch(*numbers, list(rows), prefix)

    def _with_placeholder(self, row):
        if self._prepending is None:
            return row
        at = row.text_at
        ids = [*row.ids[:at], PLACEHOLDER, *row.ids[at:]]
        counted = []
        for start, stop in row.counted:  # what stands behind it moves by one
            counted += [
                (start, min(stop, at)),
                (max(start, at) + 1, stop + 1),
            ]
        return Row(ids, [(a, b) for a, b in counted if a < b], at)

    def _is_behind_prefix(self, row):
        """Whether the row begins with the prefix, and nothing that counts is in it."""
        if self._prefix is None:
            return False
        n = len(self._prefix.ids)
        first = min(row.text_at, *(start for start, _ in row.counted))
        return (
            first >= n and len(row.ids) > n and tuple(row.ids[:n]) == self._prefix.ids
        )

    def _run(self, ids, counted, text_at, prefix, layers, poolings):
        """One pass: cells of shape (rows, hidden) as float32 arrays."""
        n_rows = len(ids)
        extra = fill_rows(*ids.shape) + self._tail_rows
        if extra:
            ids, counted, text_at = (
                np.concatenate([array, np.repeat(array[:1], extra, 0)])
                for array in (ids, counted, text_at)
            )
        device = self.model.device
        with torch.inference_mode():
            ids = torch.from_numpy(ids).to(device)  # (batch, tokens)
            mask = torch.from_numpy(counted).to(device)  # (batch, tokens)
            edit = past = None
            if self._prepending is not None:
                edit = self._prepending.at(torch.from_numpy(text_at).to(device))
            if prefix is not None:
                past = prefix.cache(len(ids))
            pooled = self.model.states(
                ids,
                layers,
                lambda states: pool_all(states, mask, poolings),
                past=past,
                edit=edit,
            )
            if prefix is not None and "first" in poolings:
                for layer, by_pooling in pooled.items():
                    by_pooling["first"] = prefix.first[layer].expand(len(ids), -1)
            return {
                (layer, pooling): vectors[:n_rows].cpu().numpy()
                for layer, by_pooling in pooled.items()
                for pooling, vectors in by_pooling.items()
            }


class LongTexts:
    """Holds the windows of long texts until a text has all of them."""

    def __init__(self, layers, poolings):
        self.cells = [(layer, pooling) for layer in layers for pooling in poolings]
        self._waiting = {}  # text -> {window: (tokens that count, {cell: vector})}

    def add(self, batch, cells):
        """Take a batch's rows; return the texts that are complete, and their cells."""
        whole = batch.n_windows == 1
        if whole.all():
            return batch.texts, cells
        texts = list(batch.texts[whole])
        made = {cell: [cells[cell][whole]] for cell in self.cells}
        for i in np.flatnonzero(~whole):
            text = batch.texts[i]
            windows = self._waiting.setdefault(text, {})
            vectors = {cell: array[i] for cell, array in cells.items()}
            windows[batch.windows[i]] = batch.rows[i].n_counted, vectors
            if len(windows) == batch.n_windows[i]:
                del self._waiting[text]
                texts.append(text)
                for cell, vector in self._join(windows).items():
                    made[cell].append(vector[None])
        arrays = {cell: np.concatenate(parts) for cell, parts in made.items()}
        return np.array(texts, dtype=np.intp), arrays

    def _join(self, windows):
        counts, vectors = zip(*(windows[w] for w in sorted(windows)), strict=True)
        by_layer = {}
        for layer, pooling in vectors[0]:
            stacked = np.stack([one[layer, pooling] for one in vectors])
            by_layer.setdefault(layer, {})[pooling] = stacked  # (windows, hidden)
        return {
            (layer, pooling): join_windows(by_layer[layer], counts, pooling)
            for layer, pooling in self.cells
        }


def has_odd_widths(network):
    """Whether some layer's width is no multiple of 32.

    Activations such as SiLU are computed 32 numbers at a time, and what is left at the
    end of a tensor by another routine, whose last bit may differ. With such a width the
    end falls into the last text of a batch; a repeated row behind it takes its place.
    """
    return any(
        width % 32
        for module in network.modules()
        if not isinstance(module, torch.nn.Embedding)
        for parameter in module.parameters(recurse=False)
        if parameter.ndim == 2
        for width in parameter.shape
    )


def _joined(finished):
    rows = np.concatenate([rows for rows, _, _ in finished])
    cells = {
        cell: np.concatenate([cells[cell] for _, _, cells in finished])
        for cell in finished[0][2]
    }
    return Block(rows, cells, sum(n_tokens for _, n_tokens, _ in finished))


# --- passes side by side -------------------------------------------------------------

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def in_parallel(function, items, n_threads):
    """Yield ``function(item)`` as computed by threads that each use one torch thread.

    Results come in the order of the items; few items are drawn ahead, so a long
    generator isn't held. With one thread everything still runs in a thread of the pool:
    its torch thread count is one, the caller's is never touched.
    """
    pool = _pool(n_threads)
    pending = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _pool(n_threads):
    # By process: the threads of a parent don't live on in a forked child.
    key = os.getpid(), n_threads
    with _pools_lock:
        if key not in _pools:
            _pools[key] = _single_threaded_pool(n_threads)
        return _pools[key]


def _single_threaded_pool(n_threads):
    """Threads whose torch thread count is one; the caller's count stays as it was."""
    before = torch.get_num_threads()
    ready = threading.Barrier(n_threads + 1)

    def one_torch_thread():
        # Asking first makes torch set this thread up now. It would do so at its first
        # parallel operation otherwise, and take the caller's count again.
        torch.get_num_threads()
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(
        n_threads, thread_name_prefix="sklearn_llm2vec", initializer=one_torch_thread
    )
    for _ in range(n_threads):
        pool.submit(lambda: None)
    ready.wait()  # a thread is made for each task while none is idle
    # torch keeps one number for threads yet to come beside each thread's own: without
    # this line it would stay one for every thread that the user starts later.
    torch.set_num_threads(before)
    return pool
