"""The vectors of texts: from the cache, and from a source for what is missing.

The one place where the cache and an encoder meet.
"""

import time
from contextlib import closing
from typing import NamedTuple

import numpy as np

from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.people import format_bytes, progress_bar
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._estimator import lending
from sklearn_llm2vec._estimator.finite import finite_cells, refuse_not_finite
from sklearn_llm2vec._model.spec import text_keys


@public_in("sklearn_llm2vec")
class Report(NamedTuple):
    """What a call of `transform` did.

    Attributes
    ----------
    texts : int
        Number of values in the input that aren't missing.
    unique : int
        Number of distinct texts among them.
    cached : int
        Number of distinct texts that were found in the cache.
    encoded : int
        Number of distinct texts that were sent through the model.
    tokens : int
        Number of tokens that this process sent through the model.
    seconds : float
        Wall time of finding and computing the vectors.
    bytes_written : int
        Number of bytes that this process wrote to the cache.
    """

    texts: int
    unique: int
    cached: int
    encoded: int
    tokens: int
    seconds: float
    bytes_written: int


def find_vectors(texts, source, cache, verbose="auto"):
    """One vector for each text: that of the source's cell.

    Parameters
    ----------
    texts : list of str, or of tuple of str
        Distinct; tuples hold the values of a template's columns.
    source : Source
    cache : EmbeddingCache or None
    verbose : "auto" or bool

    Returns
    -------
    vectors : float32 ndarray of shape (n_texts, hidden)
        Where the source has several layers, the mean over them.
    report : Report
    """
    started = time.perf_counter()
    # Before the cache is asked: it may hold what another setting cut.
    source.check_texts(texts)
    work = _Work(texts, source, cache)
    missing = work.look_up(np.arange(len(texts)), count=True)
    n_cached = len(texts) - len(missing)
    if len(missing):
        work.encode(missing, verbose)
    report = Report(
        texts=len(texts),
        unique=len(texts),
        cached=n_cached,
        encoded=work.n_encoded,
        tokens=work.n_tokens,
        seconds=time.perf_counter() - started,
        bytes_written=work.bytes_written,
    )
    return work.vectors, report


def find_blocks(columns, sources, cache, verbose="auto"):
    """Features of the distinct texts of each block, and which of them each row has.

    Parameters
    ----------
    columns : TextColumns
    sources : list of Source
        One for each block. Blocks with the same source share their texts.
    cache : EmbeddingCache or None
    verbose : "auto" or bool

    Returns
    -------
    blocks : list of tuple
        For each block its features, float32 of shape (n_unique, width), and the number of
        each row's text among them; -1 where the text is missing.
    report : Report
        Of all blocks together.
    """
    if all(source is sources[0] for source in sources):
        vectors, report = find_vectors(columns.unique, sources[0], cache, verbose)
        vectors = sources[0].finish(vectors)
        return [(vectors, rows) for rows in columns.inverse.T], report
    blocks, reports = [None] * len(sources), []
    for source in dict.fromkeys(sources):
        at = [i for i, one in enumerate(sources) if one is source]
        used = np.unique(columns.inverse[:, at])
        used = used[used >= 0]
        place = np.full(len(columns.unique) + 1, -1)  # the last is that of -1
        place[used] = np.arange(len(used))
        texts = [columns.unique[i] for i in used]
        vectors, report = find_vectors(texts, source, cache, verbose)
        vectors = source.finish(vectors)
        reports.append(report)
        for i in at:
            blocks[i] = vectors, place[columns.inverse[:, i]]
    return blocks, Report(*map(sum, zip(*reports, strict=True)))


class _Work:
    """The state of one `find_vectors`: what is there already, what was done."""

    def __init__(self, texts, source, cache):
        self.texts, self.source, self.cache = texts, source, cache
        layer = source.layer
        self.layers = layer if isinstance(layer, tuple) else (layer,)
        self.space = source.fingerprint
        self.keys = text_keys(texts) if cache is not None else None
        self.vectors = np.zeros((len(texts), source.hidden_size), np.float32)
        self.n_encoded = self.n_tokens = self.bytes_written = self.n_cut = 0
        self.ran_out = None
        self.said_too_large = False

    def look_up(self, rows, *, count=False):
        """Fill `vectors` from the cache; return those of `rows` that aren't there."""
        if self.cache is None:
            return rows
        whole = len(rows) == len(self.texts)
        keys = self.keys if whole else [self.keys[i] for i in rows]
        total = (
            self.vectors
            if whole
            else np.zeros((len(rows), *self.vectors.shape[1:]), np.float32)
        )
        found = np.ones(len(rows), bool)
        for n, layer in enumerate(self.layers):
            one = total if n == 0 else np.zeros_like(total)
            found &= self.cache.get_many(
                self.space, keys, layer, self.source.pooling, one, count=count
            )
            if n:
                total += one
        total /= np.float32(len(self.layers))
        if not whole:
            self.vectors[rows[found]] = total[found]
        return rows[~found]

    def encode(self, missing, verbose):
        """Fill `vectors` for the rows that the cache doesn't have."""
        name = f"Encoding with {self.source.name}"
        # Within another bar it goes when it is finished.
        with progress_bar(len(missing), "text", name, verbose, leave=None) as bar:
            if self.cache is None:
                self._run(missing, self._kept_cells(missing), bar)
            else:
                self._encode_once(missing, bar)
        if self.n_cut:
            warn(
                f"{self.n_cut} of {len(missing)} texts are longer than "
                f"{self.source.max_length} tokens, and the rest of each was cut off. "
                "Increase max_length, or set long_texts='error' to raise an error "
                "instead."
            )
        if self.ran_out is not None:
            tokens, most = self.ran_out
            warn(
                f"The memory was too small for a batch of {tokens} tokens. No vector "
                f"was lost, and later batches had at most {most} tokens. Set "
                f"batch_tokens={most} to avoid the failed attempts."
            )

    def _encode_once(self, missing, bar):
        """Encode what no other process encodes; wait for what another does."""
        cells = self._kept_cells(missing)
        ask_others = not self.source.is_ready(max(cells[0]))
        while True:
            if ask_others:
                ask_others, missing = self._ask(missing, cells, bar)
            if not len(missing):
                return
            with self.cache.encode_lock(self.space, self.source.device) as turn:
                # Whoever held the lock may have made some of these vectors.
                missing = self.look_up(missing)
                offered = lending.is_offered(self.cache, self.source)
                if len(missing) and not (ask_others and offered):
                    # Decided anew: whoever held the lock may have begun a search.
                    self._run(missing, self._kept_cells(missing), bar, turn)
                    return

    def _ask(self, missing, cells, bar):
        """Have another process encode; return whether to ask again, and what is left."""
        texts = [self.texts[i] for i in missing]
        n = lending.hand_over(
            self.cache,
            self.source,
            texts,
            cells,
            progress=lambda done: bar.update(done - bar.n),
        )
        if n is None:
            return not lending.is_offered(self.cache, self.source), missing
        self.n_encoded += n
        return False, self.look_up(missing)

    def _run(self, missing, cells, bar, turn=None):
        """Send texts through the encoder of this process, block by block."""
        source, cache = self.source, self.cache
        layers, poolings = cells
        encoder = source.encoder(max(layers))
        if cache is not None:
            cache.describe(self.space, source.describe())
            lending.offer(cache, source)
            turn.progress()
        if not bar.n:  # its time begins when the model is loaded
            bar.start_t = bar.last_print_t = time.time()
        texts = [self.texts[i] for i in missing]
        with closing(encoder.encode(texts, layers, poolings)) as blocks:
            for block in blocks:
                rows = missing[block.rows]
                its_texts = [self.texts[i] for i in rows]
                refuse_not_finite(its_texts, block.cells, self.layers, source.pooling)
                chosen = [block.cells[layer, source.pooling] for layer in self.layers]
                self.vectors[rows] = _mean(chosen)
                self.n_encoded += len(rows)
                self.n_tokens += block.n_tokens
                self.n_cut, self.ran_out = encoder.n_cut, encoder.ran_out
                if cache is not None:
                    keys = [self.keys[i] for i in rows]
                    made = finite_cells(block.cells)
                    self.bytes_written += cache.put_many(self.space, keys, made)
                    turn.progress()
                bar.update(len(rows))

    def _kept_cells(self, missing):
        """The layers and poolings that a pass for these rows stores."""
        asked = set(self.layers), {self.source.pooling}
        kept = self.source.always_kept
        if self.cache is None:
            kept = ([], [])
        elif self._is_searched(missing) and self._fits(len(missing)):
            kept = self.source.kept_in_search
        return tuple(
            sorted({*one, *more}) for one, more in zip(asked, kept, strict=True)
        )

    def _is_searched(self, missing):
        """Whether these texts were in a pass before, and have other cells from it.

        Then a search is under way, and the next candidate would need one more.
        """
        if self.source.kept_in_search is None:
            return False
        keys = [self.keys[i] for i in missing]
        return self.cache.has_any(self.space, keys).any()

    def _fits(self, n_texts):
        layers, poolings = self.source.kept_in_search
        n_cells = len(layers) * len(poolings)
        needed = n_texts * n_cells * self.vectors.shape[1] * 4
        if needed <= self.cache.room():
            return True
        if self.said_too_large:
            return False
        self.said_too_large = True
        warn(
            f"Storing all {n_cells} combinations of layer and pooling for {n_texts} "
            f"texts would take {format_bytes(needed)}, which is more than the cache's "
            "size_limit allows. Only what was requested is stored, so each further "
            "layer or pooling means that the texts are encoded again. Increase "
            "EmbeddingCache(size_limit=...), or name the layers and poolings in "
            "'keep'."
        )
        return False


def _mean(arrays):
    total = arrays[0].astype(np.float32, copy=True)
    for array in arrays[1:]:
        total += array
    total /= np.float32(len(arrays))
    return total
