"""The encoder: texts become blocks of pooled hidden states.

Texts are tokenized once, put into batches, run through the layers that are needed, and
come out as blocks of rows with one float32 array for each cell (layer, pooling). The
windows of a long text are joined again. On a CPU no row is padded and several passes run
side by side, one thread each: that is faster than several threads a pass, and it is why a
vector has the same bits in any batch.
"""

import time
import weakref
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_llm2vec._encode.batching import exact_length_batches, varlen_batches
from sklearn_llm2vec._encode.block import Block
from sklearn_llm2vec._encode.passes import Passes
from sklearn_llm2vec._network.pooling import join_windows, poolings_of_windows
from sklearn_llm2vec._network.prepending import PLACEHOLDER
from sklearn_llm2vec._network.threads import in_parallel
from sklearn_llm2vec._network.varlen import MOST_TOKENS
from sklearn_llm2vec._text.tokens import Row, TextTokenizer, before

# Texts tokenized at a time: enough to find many of each length, few enough to hold.
TEXTS_AT_A_TIME = {"cpu": 4096, "accelerator": 32768}
# A block is handed out after so many rows, bytes or seconds: what a crash can lose. The
# index of a cache is written all over by each block, so large ones are written less; the
# bytes limit what many layers and poolings hold.
BLOCK_ROWS = 2048
BLOCK_BYTES = 1 << 25
BLOCK_SECONDS = 2.0

# By model, for settings of a space: made once and not in each call.
_text_tokenizers = weakref.WeakKeyDictionary()


class Window(NamedTuple):
    """A row, and where its vector belongs.

    Attributes
    ----------
    text, window, n_windows : int
        Which text the row is of, which of its windows, and how many it has: one, unless
        it is long.
    row : Row
    """

    text: int
    window: int
    n_windows: int
    row: Row


@dataclass
class Batch:
    """Rows that go through the model together.

    Attributes
    ----------
    texts, windows, n_windows : ndarray of int, shape (n_rows,)
        As in `Window`, for each row.
    rows : list of Row
    behind : bool
        Whether the rows begin with the prefix, which is there already.
    """

    texts: np.ndarray
    windows: np.ndarray
    n_windows: np.ndarray
    rows: list
    behind: bool

    @classmethod
    def of(cls, windows, behind):
        """The batch of these windows."""
        texts, places, n_windows, rows = zip(*windows, strict=True)
        numbers = map(np.array, (texts, places, n_windows))
        return cls(*numbers, list(rows), behind)


class Encoder:
    """A loaded model with the settings of one space.

    Parameters
    ----------
    *models : LoadedModel
        One, or the same model on several devices.
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
    causal : bool
        Whether tokens see only those before them. What all prompts begin with goes
        through the model once then.

    Attributes
    ----------
    n_cut : int
        Texts that were cut, of those encoded so far.
    passes : Passes
    """

    def __init__(
        self,
        *models,
        special_tokens,
        max_length,
        batch_tokens="auto",
        template=None,
        counts="text",
        chunk_overlap=None,
        token_prepending=None,
        causal=False,
    ):
        self.n_cut = 0
        self._tokenizer = _text_tokenizer(
            models[0],
            special_tokens=special_tokens,
            max_length=max_length,
            template=template,
            counts=counts,
            chunk_overlap=chunk_overlap,
            n_added=0 if token_prepending is None else 1,
        )
        self._has_placeholder = token_prepending is not None
        shares_prefix = causal and template is not None
        prefix = self._tokenizer.prefix() if shares_prefix else ()
        self._prefix_counted = self._tokenizer.counted_in_prefix(len(prefix))
        self.passes = Passes(
            models,
            max_length=max_length,
            batch_tokens=batch_tokens,
            causal=causal,
            token_prepending=token_prepending,
            prefix_ids=prefix,
            prefix_counted=self._prefix_counted,
        )

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
        needed = poolings_of_windows(poolings)
        self.n_cut = 0
        n_cells = len(layers) * len(needed)
        long_texts = LongTexts(layers, poolings)

        def run(batch):
            # Only windows need the poolings by which they are joined.
            wanted = needed if batch.n_windows.max() > 1 else poolings
            cells, n_tokens = self.passes(batch.rows, batch.behind, layers, wanted)
            return batch, n_tokens, cells

        finished, n_rows, n_bytes, since = [], 0, 0, time.monotonic()
        for batch, n_tokens, cells in in_parallel(
            run, self._batches(texts, n_cells), self.passes.n_at_once
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

    @property
    def ran_out(self):
        """Tokens of a pass that found no room, and of the largest since; or None."""
        return self.passes.ran_out

    def _batches(self, texts, n_cells):
        """Yield batches, of a few thousand texts at a time."""
        step = TEXTS_AT_A_TIME["cpu" if self.passes.on_cpu else "accelerator"]
        for start in range(0, len(texts), step):
            made, n_cut = self._tokenizer(texts[start : start + step])
            self.n_cut += n_cut
            windows = [
                Window(text, window, len(rows), self._with_placeholder(row))
                for text, rows in enumerate(made, start)
                for window, row in enumerate(rows)
            ]
            there = [self._is_behind_prefix(one.row) for one in windows]
            # Rows behind the prefix and whole rows don't go together: their passes begin
            # at different positions.
            for behind in (False, True):
                group = [
                    one
                    for one, its in zip(windows, there, strict=True)
                    if its is behind
                ]
                for chosen in self._split([one.row for one in group], behind, n_cells):
                    yield Batch.of([group[i] for i in chosen], behind)

    def _split(self, rows, behind, n_cells):
        """Yield positions of rows that go through the model together."""
        costs = [
            self.passes.cost(self.passes.length(row, behind), behind, n_cells)
            for row in rows
        ]
        costs = np.array(costs, np.int64)
        budget, n_at_once = self.passes.batch_tokens, self.passes.n_at_once
        joins = np.zeros(len(rows), bool)
        # Of one length only there is nothing to join.
        if not behind and len(np.unique(costs)) > 1:
            varlen = self.passes.varlen(int(costs.sum()))
            if varlen is not None:
                joins[:] = [varlen.takes(row.ids) for row in rows]
        # Costs stand for lengths: rows of one length have one cost, and others have
        # others.
        alone, together = np.flatnonzero(~joins), np.flatnonzero(joins)
        for chosen in exact_length_batches(costs[alone], budget):
            yield alone[chosen]
        budget = min(budget, MOST_TOKENS)
        for chosen in varlen_batches(costs[together], budget, n_at_once):
            yield together[chosen]

    def _with_placeholder(self, row):
        """The row with the token before its text that Token Prepending replaces."""
        if not self._has_placeholder:
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
        """Whether the row begins with the prefix, of which those tokens count that do.

        And something behind it counts, too. The text itself mustn't begin in it: Token
        Prepending replaces what stands before a text.
        """
        prefix = self.passes.prefix_ids
        if not prefix:
            return False
        n = len(prefix)
        return (
            row.text_at >= n
            and tuple(row.ids[:n]) == prefix
            and before(row.counted, n) == self._prefix_counted
            and row.counted[-1][1] > n
        )


class LongTexts:
    """Holds the windows of long texts until a text has all of them.

    Windows of one text have different lengths and come from different passes, in any
    order; a text leaves when its last one is there.
    """

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


def _text_tokenizer(model, **settings):
    """The `TextTokenizer` of these settings for a model."""
    made = _text_tokenizers.setdefault(model, {})
    key = tuple(sorted(settings.items()))
    if key not in made:
        matrix = model.states.network.get_input_embeddings().weight
        settings["n_known"] = matrix.shape[0]
        made[key] = TextTokenizer(model.tokenizer, **settings)
    return made[key]


def _joined(finished):
    rows = np.concatenate([rows for rows, _, _ in finished])
    cells = {
        cell: np.concatenate([cells[cell] for _, _, cells in finished])
        for cell in finished[0][2]
    }
    return Block(rows, cells, sum(n_tokens for _, n_tokens, _ in finished))
