"""The encoder: texts become blocks of pooled hidden states.

Texts are tokenised once, put into batches of one exact length, run through the layers
that are needed, and come out as blocks of rows with one float32 array for each cell
(layer, pooling). On a CPU several passes run side by side, one thread each: that is
faster than several threads a pass, and it is why a vector has the same bits in any batch.
This file doesn't know caches or scikit-learn.
"""

import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch

from sklearn_llm2vec._batching import exact_length_batches, fill_rows
from sklearn_llm2vec._pooling import pool_all

__all__ = ["Block", "Encoder"]

# Texts tokenised at a time: enough to find many of each length, few enough to hold.
TEXTS_AT_A_TIME = 4096
# A block is handed out after so many rows or seconds: what a crash can lose.
BLOCK_ROWS = 512
BLOCK_SECONDS = 2.0
# Small batches stay in a CPU's caches; an accelerator wants large ones.
CPU_TOKENS = 1024
ACCELERATOR_TOKENS = 16384


@dataclass
class Block:
    """Some finished texts.

    Attributes
    ----------
    rows : ndarray of int, shape (n_rows,)
        Positions in the texts that were given.
    cells : dict of (int, str) to float32 ndarray of shape (n_rows, hidden)
        One array for each (layer, pooling).
    n_tokens : int
        Tokens that went through the model for them.
    """

    rows: np.ndarray
    cells: dict
    n_tokens: int


@dataclass
class Tokens:
    """One text as the model reads it.

    Attributes
    ----------
    ids : list of int
    counted : tuple of (int, int)
        Start and stop of the tokens that count in mean, weighted_mean and max.
    cut : bool
        Whether the text was longer than the limit.
    """

    ids: list = field(repr=False)
    counted: tuple
    cut: bool


class Encoder:
    """A loaded model with the settings of one space.

    Parameters
    ----------
    model : LoadedModel
    special_tokens : bool
        Whether the tokens that the tokenizer adds count in mean, weighted_mean and max.
    max_length : int
        Tokens of a text, special tokens included; the rest is cut off.
    batch_tokens : int or "auto"
        Most tokens of one pass.
    """

    def __init__(self, model, *, special_tokens, max_length, batch_tokens="auto"):
        self.model = model
        self.special_tokens = special_tokens
        self.max_length = max_length
        on_cpu = model.device.type == "cpu"
        if batch_tokens == "auto":
            batch_tokens = CPU_TOKENS if on_cpu else ACCELERATOR_TOKENS
        self.batch_tokens = int(batch_tokens)
        self.n_cut = 0
        self._tail_rows = 1 if has_odd_widths(model.states.network) else 0
        self._head, self._tail = self._special_tokens_around()
        if max_length <= self._head + self._tail:
            raise ValueError(
                "The 'max_length' parameter of LLMEmbeddingTransformer must be greater "
                f"than the {self._head + self._tail} special tokens that this model's "
                f"tokenizer adds to a text. Got {max_length} instead."
            )

    def encode(self, texts, layers, poolings):
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str
        layers : collection of int
            Hidden states to keep, 0 (the embeddings) to the depth of the model.
        poolings : collection of str

        Yields
        ------
        Block
            Each text is in exactly one block; blocks come as they are finished.
        """
        layers, poolings = sorted(set(layers)), sorted(set(poolings))
        self.n_cut = 0

        def run(batch):
            rows, ids, counted = batch
            return rows, ids.size, self._run(ids, counted, layers, poolings)

        finished, since = [], time.monotonic()
        for result in in_parallel(run, self._batches(texts), self._n_passes()):
            finished.append(result)
            n_rows = sum(len(rows) for rows, _, _ in finished)
            if n_rows >= BLOCK_ROWS or time.monotonic() - since > BLOCK_SECONDS:
                yield _joined(finished)
                finished, since = [], time.monotonic()
        if finished:
            yield _joined(finished)

    def _n_passes(self):
        return torch.get_num_threads() if self.model.device.type == "cpu" else 1

    def _batches(self, texts):
        """Yield (rows, ids, counted) of exact-length batches."""
        for start in range(0, len(texts), TEXTS_AT_A_TIME):
            tokens = self.tokenize(texts[start : start + TEXTS_AT_A_TIME])
            self.n_cut += sum(one.cut for one in tokens)
            lengths = [len(one.ids) for one in tokens]
            for batch in exact_length_batches(lengths, self.batch_tokens):
                ids = np.array([tokens[i].ids for i in batch])  # (batch, tokens)
                position = np.arange(ids.shape[1])
                spans = np.array([tokens[i].counted for i in batch])  # (batch, 2)
                counted = (position >= spans[:, :1]) & (position < spans[:, 1:])
                yield batch + start, ids, counted

    def tokenize(self, texts):
        """Token ids of each text, and which of them count.

        Parameters
        ----------
        texts : list of str

        Returns
        -------
        list of Tokens
        """
        tokens = []
        for ids in self._ids(texts):
            cut = len(ids) > self.max_length
            if cut:
                # The front of the text, between the special tokens around it.
                room = self.max_length - self._head - self._tail
                stop = len(ids) - self._tail
                ids = ids[: self._head + room] + ids[stop:]
            ids = ids or [self._stand_in()]
            tokens.append(Tokens(ids, self._counted(len(ids)), cut))
        return tokens

    def _ids(self, texts):
        return self.model.tokenizer(
            list(texts),
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]

    def count_tokens(self, texts):
        """Tokens of each text before any cut, special tokens included."""
        return [len(ids) for ids in self._ids(texts)]

    def _special_tokens_around(self):
        """How many tokens the tokenizer adds before and after each text."""
        mask = self.model.tokenizer(
            ["a"], return_special_tokens_mask=True, verbose=False
        )["special_tokens_mask"][0]
        return _n_leading(mask), _n_leading(mask[::-1])

    def _counted(self, n_tokens):
        start, stop = self._head, n_tokens - self._tail
        # A text without a token of its own ("" to a BERT) is its special tokens.
        if self.special_tokens or start >= stop:
            return 0, n_tokens
        return start, stop

    def _stand_in(self):
        """The token that stands for an empty text when the tokenizer adds none."""
        tokenizer = self.model.tokenizer
        for name in ("bos_token_id", "eos_token_id", "cls_token_id", "pad_token_id"):
            if getattr(tokenizer, name, None) is not None:
                return getattr(tokenizer, name)
        return 0

    def _run(self, ids, counted, layers, poolings):
        """One pass: cells of shape (rows, hidden) as float32 arrays."""
        n_rows = len(ids)
        extra = fill_rows(*ids.shape) + self._tail_rows
        if extra:
            ids = np.concatenate([ids, np.repeat(ids[:1], extra, 0)])
            counted = np.concatenate([counted, np.repeat(counted[:1], extra, 0)])
        device = self.model.device
        with torch.inference_mode():
            ids = torch.from_numpy(ids).to(device)  # (batch, tokens)
            mask = torch.from_numpy(counted).to(device)  # (batch, tokens)
            pooled = self.model.states(
                ids, layers, lambda states: pool_all(states, mask, poolings)
            )
            return {
                (layer, pooling): vectors[:n_rows].cpu().numpy()
                for layer, by_pooling in pooled.items()
                for pooling, vectors in by_pooling.items()
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


def _n_leading(special):
    """Number of ones at the start."""
    return next((i for i, value in enumerate(special) if not value), len(special))


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
