"""The vectors of texts: from the cache, and from the model for what is missing.

The one place that knows both the cache and the encoder, which don't know each other.
torch and transformers are imported only when a text has to go through the model.
"""

import dataclasses
import hashlib
import json
import time
import warnings
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_llm2vec._cache.store import EmbeddingCache
from sklearn_llm2vec._common.facts import remember
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._encode.endpoint import EndpointEncoder, ServedModel, ServedSpec
from sklearn_llm2vec._model import handover
from sklearn_llm2vec._model.folders import ModelFolder
from sklearn_llm2vec._model.spec import EncoderSpec, text_keys
from sklearn_llm2vec._model.tokenizer import last_tokenizer
from sklearn_llm2vec._network.pooling import POOLINGS
from sklearn_llm2vec._text.tokens import TextTokenizer, measure_prompt
from sklearn_llm2vec._text.windows import check_room


@public_in("sklearn_llm2vec")
class Report(NamedTuple):
    """What one transform did.

    Attributes
    ----------
    texts : int
        Values in the input that aren't missing.
    unique : int
        Distinct ones among them.
    cached : int
        Of those, found in the cache.
    encoded : int
        Of those, sent through the model.
    tokens : int
        Tokens that this process sent through the model.
    seconds : float
        Wall time of finding and making the vectors.
    bytes_written : int
        Data written to the cache by this process.
    """

    texts: int
    unique: int
    cached: int
    encoded: int
    tokens: int
    seconds: float
    bytes_written: int


@dataclass
class Source:
    """Where vectors come from: a model with its settings, and a cache before it."""

    model: ModelFolder | ServedModel
    spec: EncoderSpec | ServedSpec
    devices: tuple
    cache: EmbeddingCache | None
    batch_tokens: object = "auto"
    long_texts: str = "truncate"
    keep: object = "auto"
    verbose: object = "auto"
    adapters: tuple = ()

    @property
    def is_served(self):
        """Whether a server has the model: nothing is loaded here, or lent to others."""
        return isinstance(self.model, ServedModel)

    @property
    def place(self):
        """Space and device: the name under which a process offers its model."""
        return f"{self.spec.fingerprint}@{self.device}"

    @property
    def device(self):
        """The first of the devices: all of them give the same vectors."""
        return self.devices[0]

    def model_settings(self, depth, device=None):
        """What `load_model` and `loaded_model` take."""
        return {
            "depth": depth,
            "dtype": self.spec.dtype,
            "device": self.device if device is None else device,
            "attention": self.spec.attention,
            "adapters": self.adapters,
        }


_caches: dict[EmbeddingCache, EmbeddingCache] = {}


def open_cache(cache):
    """The cache that the `cache` parameter means: one object a place and process."""
    if cache is None or cache is False:
        return None
    if not isinstance(cache, EmbeddingCache):
        cache = EmbeddingCache(None if cache is True else cache)
    return _caches.setdefault(cache, cache)


def find_vectors(texts, layers, pooling, source):
    """One vector for each text: the mean of `layers`' pooled states.

    Parameters
    ----------
    texts : list of str, or of tuple of str
        Distinct; tuples hold the values of a template's columns.
    layers : tuple of int
        Hidden states, counted from 0.
    pooling : str
    source : Source

    Returns
    -------
    vectors : float32 ndarray of shape (n_texts, hidden)
    report : Report
    """
    started = time.perf_counter()
    if source.long_texts == "error":
        # Before the cache is asked: it may hold what another setting cut.
        _refuse_long_texts(source, texts)
    work = _Work(texts, layers, pooling, source)
    missing = work.look_up(np.arange(len(texts)), count=True)
    n_cached = len(texts) - len(missing)
    if len(missing):
        work.encode(missing)
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


class _Work:
    """The state of one `find_vectors`: what is there already, what was done."""

    def __init__(self, texts, layers, pooling, source):
        self.texts, self.layers, self.pooling = texts, layers, pooling
        self.source, self.cache = source, source.cache
        self.space = source.spec.fingerprint
        self.keys = text_keys(texts) if self.cache is not None else None
        self.vectors = np.zeros((len(texts), source.model.hidden_size), np.float32)
        self.n_encoded = self.n_tokens = self.bytes_written = self.n_cut = 0
        self.ran_out = None

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
                self.space, keys, layer, self.pooling, one, count=count
            )
            if n:
                total += one
        total /= np.float32(len(self.layers))
        if not whole:
            self.vectors[rows[found]] = total[found]
        return rows[~found]

    def encode(self, missing):
        """Fill `vectors` for the rows that the cache doesn't have."""
        layers, poolings = self._kept_cells(missing)
        with self._progress(len(missing)) as bar:
            if self.cache is None:
                self._run(missing, layers, poolings, bar)
            else:
                self._encode_once(missing, layers, poolings, bar)
        if self.n_cut:
            warnings.warn(
                f"{self.n_cut} of {len(missing)} texts are longer than "
                f"{self.source.spec.max_length} tokens; what comes after was cut off. "
                "Raise max_length, or choose long_texts='error' to be stopped.",
                UserWarning,
                stacklevel=4,
            )
        if self.ran_out is not None:
            tokens, most = self.ran_out
            warnings.warn(
                f"The memory was too small for a pass of {tokens} tokens. Nothing is "
                f"lost, later ones had at most {most}; with batch_tokens={most} none is "
                "tried in vain.",
                UserWarning,
                stacklevel=4,
            )

    def _encode_once(self, missing, layers, poolings, bar):
        """Encode what no other process encodes; wait for what another does."""
        ask_others = not self._is_loaded(layers)
        while True:
            if ask_others:
                ask_others, missing = self._ask(missing, layers, poolings, bar)
            if not len(missing):
                return
            with self.cache.encode_lock(self.space, self.source.device):
                # Whoever held the lock may have made some of these vectors.
                missing = self.look_up(missing)
                offered = handover.is_offered(self.cache.path, self.source.place)
                if len(missing) and not (ask_others and offered):
                    self._run(missing, layers, poolings, bar)
                    return

    def _ask(self, missing, layers, poolings, bar):
        """Have another process encode; return whether to ask again, and what is left."""
        n = handover.hand_over(
            self.cache.path,
            self.source.place,
            texts=[self.texts[i] for i in missing],
            layers=list(layers),
            poolings=list(poolings),
            progress=lambda done: bar.update(done - bar.n),
        )
        if n is None:
            offered = handover.is_offered(self.cache.path, self.source.place)
            return not offered, missing
        self.n_encoded += n
        return False, self.look_up(missing)

    def _run(self, missing, layers, poolings, bar):
        """Send texts through the model of this process, block by block."""
        encoder = load_encoder(self.source, max(layers))
        if self.cache is not None:
            self.cache.describe(self.space, _space_note(self.source))
            if handover.is_worker() and not self.source.is_served:
                handover.offer(
                    self.cache.path, self.source.place, _offered(self.source)
                )
        texts = [self.texts[i] for i in missing]
        with closing(encoder.encode(texts, layers, poolings)) as blocks:
            for block in blocks:
                rows = missing[block.rows]
                chosen = [block.cells[layer, self.pooling] for layer in self.layers]
                self.vectors[rows] = _mean(chosen)
                self.n_encoded += len(rows)
                self.n_tokens += block.n_tokens
                self.n_cut, self.ran_out = encoder.n_cut, encoder.ran_out
                if self.cache is not None:
                    keys = [self.keys[i] for i in rows]
                    self.bytes_written += self.cache.put_many(
                        self.space, keys, block.cells
                    )
                bar.update(len(rows))

    def _is_loaded(self, layers):
        import sys

        if self.source.is_served:
            return True
        if "torch" not in sys.modules:
            return False
        from sklearn_llm2vec._model.registry import loaded_model

        source = self.source
        return loaded_model(source.model, **source.model_settings(max(layers)))

    def _kept_cells(self, missing):
        """The layers and poolings that a pass for these rows stores."""
        layers, poolings = set(self.layers), {self.pooling}
        keep, n_layers = self.source.keep, self.source.model.n_layers
        if self.cache is None or keep == "requested":
            return sorted(layers), sorted(poolings)
        if keep == "auto":
            keys = [self.keys[i] for i in missing]
            # A text with another cell was in a pass before: a search is under way, and
            # the next candidate would need one more.
            if not self.cache.has_any(self.space, keys).any():
                return sorted(layers), sorted(poolings)
            n_cells = (n_layers + 1) * len(POOLINGS)
            if not self._fits(len(missing), n_cells):
                return sorted(layers), sorted(poolings)
            keep = "all"
        kept_layers, kept_poolings = ("all", "all") if keep == "all" else keep
        if isinstance(kept_layers, str):
            kept_layers = range(n_layers + 1)
        if isinstance(kept_poolings, str):
            kept_poolings = POOLINGS
        layers |= {k + n_layers + 1 if k < 0 else k for k in kept_layers}
        return sorted(layers), sorted(poolings | set(kept_poolings))

    def _fits(self, n_texts, n_cells):
        needed = n_texts * n_cells * self.vectors.shape[1] * 4
        if needed <= self.cache.room():
            return True
        warnings.warn(
            f"Keeping all {n_cells} layers and poolings of {n_texts} texts would take "
            f"{needed / 1e9:.1f} GB, more than the cache's size_limit leaves. Only what "
            "was asked for is kept, so each further layer or pooling costs a pass of its "
            "own. Raise EmbeddingCache(size_limit=...), or name the cells in 'keep'.",
            UserWarning,
            stacklevel=6,
        )
        return False

    def _progress(self, n_texts):
        from tqdm.auto import tqdm

        verbose = self.source.verbose
        return tqdm(
            total=n_texts,
            desc=f"Encoding with {self.source.model.name}",
            unit="text",
            delay=3 if verbose == "auto" else 0,
            disable=not verbose,
            leave=None,  # within another bar it goes when it is finished
        )


def _mean(arrays):
    total = arrays[0].astype(np.float32, copy=True)
    for array in arrays[1:]:
        total += array
    total /= np.float32(len(arrays))
    return total


def load_encoder(source, depth):
    """The encoder of a source, with at least `depth` layers."""
    if source.is_served:
        return EndpointEncoder(
            source.model,
            template=source.spec.template,
            batch_tokens=source.batch_tokens,
        )
    from sklearn_llm2vec._encode.encoder import Encoder
    from sklearn_llm2vec._model.registry import load_model

    spec = source.spec
    models = [
        load_model(source.model, **source.model_settings(depth, device))
        for device in source.devices
    ]
    return Encoder(
        *models,
        special_tokens=spec.special_tokens,
        batch_tokens=source.batch_tokens,
        counts=spec.counts,
        **_lengths(spec),
        token_prepending=spec.token_prepending,
        causal=spec.attention == "causal",
    )


def _lengths(spec):
    """What decides how much of a text fits into a row."""
    return {
        "max_length": spec.max_length,
        "template": spec.template,
        "chunk_overlap": spec.chunk_overlap if spec.long_texts == "chunk" else None,
    }


def check_prompt(source):
    """Refuse a prompt that can't be made, or that leaves no room for a text.

    No weights are loaded; what the tokenizer says is remembered.
    """
    spec, model = source.spec, source.model
    about = json.dumps([spec.tokenizer, spec.template, spec.counts])
    measured = remember(
        f"prompt:1:{hashlib.sha256(about.encode()).hexdigest()}",
        lambda: measure_prompt(
            last_tokenizer(model, spec.tokenizer), spec.template, spec.counts
        ),
        model.memo_directory,
    )
    n_added = 0 if spec.token_prepending is None else 1
    check_room(measured, n_added=n_added, **_lengths(spec))


def _refuse_long_texts(source, texts):
    """Raise when a text would be cut; nothing has been encoded yet then."""
    spec = source.spec
    tokenizer = TextTokenizer(
        last_tokenizer(source.model, spec.tokenizer),
        special_tokens=spec.special_tokens,
        counts=spec.counts,
        n_added=0 if spec.token_prepending is None else 1,
        **_lengths(spec),
    )
    n_long, longest, example = 0, 0, 0
    for start in range(0, len(texts), 4096):
        for i, n in enumerate(tokenizer.count(texts[start : start + 4096]), start):
            if n > tokenizer.room:
                n_long += 1
                longest, example = max((longest, example), (n, i))
    if n_long:
        raise ValueError(
            f"With long_texts='error' every text must have at most {tokenizer.room} "
            f"tokens. Got {n_long} longer ones; the longest has {longest} and begins "
            f"with {_begin(texts[example])!r}. Raise max_length, or choose "
            "long_texts='truncate'."
        )


def _begin(text):
    return (text if isinstance(text, str) else "; ".join(text))[:40]


def _space_note(source):
    """All that a space is made of, for people who compare two of them."""
    if source.is_served:
        return dataclasses.asdict(source.spec)
    import torch
    import transformers

    return {
        **dataclasses.asdict(source.spec),
        "model": source.model.name,
        "adapters": [adapter.name for adapter in source.adapters],
        "adapter_digests": list(source.spec.adapters),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _offered(source):
    """What this process does for the others: encode what is missing, into the cache."""

    def encode(texts, layers, poolings):
        # JSON, in which they came, knows no tuples.
        texts = [text if isinstance(text, str) else tuple(text) for text in texts]
        cache, space = source.cache, source.spec.fingerprint
        keys = text_keys(texts)
        width = source.model.hidden_size
        with cache.encode_lock(space, source.device):
            there = np.ones(len(texts), bool)
            for layer in layers:
                for pooling in poolings:
                    scratch = np.empty((len(texts), width), np.float32)
                    there &= cache.get_many(
                        space, keys, layer, pooling, scratch, count=False
                    )
            missing = np.flatnonzero(~there)
            encoder = load_encoder(source, max(layers))
            for block in encoder.encode([texts[i] for i in missing], layers, poolings):
                rows = missing[block.rows]
                cache.put_many(space, [keys[i] for i in rows], block.cells)
                yield len(rows)

    return encode
