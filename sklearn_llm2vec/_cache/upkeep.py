"""Looking after a database: what it holds, whether it is sound, and what must go."""

import sqlite3
import time
from datetime import datetime, timezone

import numpy as np

from sklearn_llm2vec._cache.blocks import read_note, remove_block, verify_cell
from sklearn_llm2vec._cache.database import transaction


def n_bytes(db):
    """Bytes of all vectors and their checksums."""
    query = "SELECT coalesce(sum(bytes), 0) FROM spaces"
    return db.execute(query).fetchone()[0]


def counters(db):
    """The lifetime counters: a dict of name to value."""
    return dict(db.execute("SELECT name, value FROM counters"))


def spaces(db):
    """The spaces as ``EmbeddingCache.info`` shows them, the oldest first."""
    columns = "id, fingerprint, note, bytes, created, last_used"
    query = f"SELECT {columns} FROM spaces ORDER BY id"
    return [_space(db, *row) for row in db.execute(query).fetchall()]


def _space(db, space_id, fingerprint, note, n_bytes, created, last_used):
    query = "SELECT count(DISTINCT key) FROM rows WHERE space_id = ?"
    (n_texts,) = db.execute(query, (space_id,)).fetchone()
    cells = db.execute(
        "SELECT c.layer, c.pooling, count(DISTINCT r.key) FROM blocks b"
        " JOIN cells c ON c.block_id = b.id JOIN rows r ON r.block_id = b.id"
        " WHERE b.space_id = ? GROUP BY c.layer, c.pooling",
        (space_id,),
    ).fetchall()
    return {
        "fingerprint": fingerprint,
        "texts": n_texts,
        "vectors": sum(n for _, _, n in cells),
        "bytes": n_bytes,
        "cells": sorted((layer, pooling) for layer, pooling, _ in cells),
        "created": _when(created),
        "last_used": _when(last_used),
        "note": read_note(note),
    }


def _when(seconds):
    try:
        moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    except (ValueError, TypeError, OverflowError, OSError):
        return "unknown"  # damaged
    return moment.isoformat(timespec="seconds")


def verify(db, sample, random_state):
    """The answer of ``EmbeddingCache.verify``, which has the same parameters."""
    try:
        ids = [i for (i,) in db.execute("SELECT id FROM cells ORDER BY id")]
    except sqlite3.DatabaseError:
        return {"checked": 0, "damaged": 0, "ok": False}
    if sample is not None and sample < len(ids):
        rng = np.random.default_rng(random_state)
        ids = rng.choice(ids, sample, replace=False).tolist()
    checked = damaged = 0
    for cell_id in ids:
        n_rows, n_good = verify_cell(db, cell_id)
        checked += n_rows
        damaged += n_rows - n_good
    try:
        whole = db.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        whole = False
    return {"checked": checked, "damaged": damaged, "ok": whole and not damaged}


def make_room(db, size_limit, block):
    """Remove old blocks until the limit is kept; never the one just written.

    Parameters
    ----------
    db : sqlite3.Connection
        In the transaction that wrote `block`.
    size_limit : int
        Bytes of vectors that may stay.
    block : int
        The id of the block that stays even where it is larger than the limit.

    Returns
    -------
    int
        Bytes removed.
    """
    total, freed = n_bytes(db), 0
    if total <= size_limit:
        return 0
    oldest = db.execute(
        "SELECT b.id FROM blocks b JOIN spaces s ON s.id = b.space_id"
        " WHERE b.id <> ? ORDER BY s.last_used, b.id",
        (block,),
    ).fetchall()
    for (block_id,) in oldest:
        if total - freed <= size_limit:
            break
        freed += remove_block(db, block_id)
    return freed


def prune(db, max_bytes, older_than, space):
    """What ``EmbeddingCache.prune`` does to the database; the bytes removed."""
    chosen = _blocks_to_prune(db, max_bytes, older_than, space)
    with transaction(db):
        freed = sum(remove_block(db, block) for block in chosen)
        db.execute("DELETE FROM spaces WHERE id NOT IN (SELECT space_id FROM blocks)")
    _shrink(db)
    return freed


def _blocks_to_prune(db, max_bytes, older_than, space):
    blocks = db.execute(
        "SELECT b.id, b.created, (SELECT sum(length(data) + length(checksums))"
        " FROM cells WHERE block_id = b.id) FROM blocks b JOIN spaces s"
        " ON s.id = b.space_id WHERE substr(s.fingerprint, 1, ?) = ?"
        " ORDER BY s.last_used, b.id",
        (len(space or ""), space or ""),
    ).fetchall()
    if older_than is not None:
        before = time.time() - older_than.total_seconds()
        blocks = [block for block in blocks if block[1] < before]
    if max_bytes is None:
        return [block[0] for block in blocks]
    total, chosen = n_bytes(db), []
    for block, _, block_bytes in blocks:
        if total <= max_bytes:
            break
        chosen.append(block)
        total -= block_bytes or 0
    return chosen


def empty(db):
    """Remove all vectors and spaces; the lifetime counters stay."""
    with transaction(db):
        for table in ("cells", "rows", "blocks", "spaces"):
            db.execute(f"DELETE FROM {table}")
    _shrink(db)


def _shrink(db):
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
