"""Workers of one host encode for each other, so that one of them loads the model.

::

    a worker that has the model        the cache           a worker whose texts miss
    ---------------------------     -----------------      -------------------------
    offer()  writes an address -->  model-....json    -->  is_offered()
    encode() <-------------------- texts (a socket) -----  hand_over()
    vectors ---------------------> embeddings.sqlite3 -->  looks them up

Whoever finds no offer waits for the lock of the space, and by then may find one.
"""

import numpy as np

from sklearn_llm2vec._estimator.finite import finite_cells
from sklearn_llm2vec._model import handover
from sklearn_llm2vec._model.spec import text_keys


def is_offered(cache, source):
    """Whether another process seems to have this source loaded for others."""
    return source.is_lendable and handover.is_offered(cache.path, _place(source))


def hand_over(cache, source, texts, cells, progress):
    """Have texts encoded by the process that offers this source.

    Parameters
    ----------
    cache : EmbeddingCache
        Where their vectors are then.
    source : Source
    texts : list of str, or of tuple of str
    cells : tuple of (list of int, list of str)
        Layers and poolings.
    progress : callable
        Called with the number of texts done so far.

    Returns
    -------
    int or None
        How many texts went through the model there; None where no process took them.
    """
    layers, poolings = cells
    return handover.hand_over(
        cache.path,
        _place(source),
        texts=texts,
        layers=layers,
        poolings=poolings,
        progress=progress,
    )


def offer(cache, source):
    """Let other workers have texts encoded here, where this is one of several."""
    if source.is_lendable and handover.is_worker():
        handover.offer(cache.path, _place(source), encode_for_others(cache, source))


def _place(source):
    """The name under which a process offers its model: space and device."""
    return f"{source.fingerprint}@{source.device}"


def encode_for_others(cache, source):
    """What this process does for the others: encode what is missing, into the cache."""

    def encode(texts, layers, poolings):
        # JSON, in which they came, knows no tuples.
        texts = [text if isinstance(text, str) else tuple(text) for text in texts]
        space = source.fingerprint
        keys = text_keys(texts)
        with cache.encode_lock(space, source.device) as turn:
            there = np.ones(len(texts), bool)
            for layer in layers:
                for pooling in poolings:
                    scratch = np.empty((len(texts), source.hidden_size), np.float32)
                    there &= cache.get_many(
                        space, keys, layer, pooling, scratch, count=False
                    )
            missing = np.flatnonzero(~there)
            encoder = source.encoder(max(layers))
            turn.progress()
            for block in encoder.encode([texts[i] for i in missing], layers, poolings):
                rows = missing[block.rows]
                # What isn't finite is missing to the other, who then meets the error.
                if cells := finite_cells(block.cells):
                    cache.put_many(space, [keys[i] for i in rows], cells)
                turn.progress()
                yield len(rows)

    return encode
