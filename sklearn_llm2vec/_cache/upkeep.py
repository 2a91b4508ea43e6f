"""Looking after a database: what it holds, whether it is sound, and what must go."""

import sqlite3
import time
from datetime import datetime, timezone

import numpy as np

from sklearn_llm2vec._cache.blocks import (
    copy_blocks,
    read_note,
    remove_block,
    verify_cell,
)
from sklearn_llm2vec._cache.database import (
    DAMAGED_FILE,
    connect,
    prepare,
    transaction,
)

# At most this much is held in memory while a database on a full disk is rewritten.
MOST_BYTES_HELD = 1 << 30


def n_bytes(db):
    """Bytes of all vectors and their checksums."""
    query = "SELECT coalesce(sum(bytes), 0) FROM spaces"
    return db.execute(query).fetchone()[0]


def _recount(db):
    """Count the bytes of each space again, before vectors are removed because of them."""
    db.execute(
        "UPDATE spaces SET bytes = (SELECT"
        " coalesce(sum(length(c.data) + length(c.checksums)), 0)"
        " FROM blocks b JOIN cells c ON c.block_id = b.id WHERE b.space_id = spaces.id)"
    )


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
    except DAMAGED_FILE:
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
        # quick_check would not compare the indexes with the tables.
        whole = db.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
    except DAMAGED_FILE:
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
    if n_bytes(db) <= size_limit:
        return 0
    _recount(db)
    total, freed = n_bytes(db), 0
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


def blocks_to_prune(db, max_bytes, older_than, space):
    """What ``EmbeddingCache.prune`` removes: a dict of blocks to their bytes."""
    blocks = db.execute(
        "SELECT b.id, b.created, (SELECT sum(length(data) + length(checksums))"
        " FROM cells WHERE block_id = b.id) FROM blocks b JOIN spaces s"
        " ON s.id = b.space_id WHERE substr(s.fingerprint, 1, ?) = ?"
        " ORDER BY s.last_used, b.id",
        (len(space or ""), space or ""),
    ).fetchall()
    total = sum(n or 0 for *_, n in blocks) if not space else n_bytes(db)
    if older_than is not None:
        before = time.time() - older_than.total_seconds()
        blocks = [block for block in blocks if block[1] < before]
    chosen = {}
    for block, _, block_bytes in blocks:
        if max_bytes is not None and total <= max_bytes:
            break
        chosen[block] = block_bytes or 0
        total -= block_bytes or 0
    return chosen


def remove(db, blocks):
    """Remove blocks and the spaces that are then empty, and shrink the file."""
    with transaction(db):
        for block in blocks:
            remove_block(db, block)
        db.execute("DELETE FROM spaces WHERE id NOT IN (SELECT space_id FROM blocks)")
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def is_full(error):
    """Whether SQLite raised this error because the disk is full."""
    return "full" in str(error) or "disk I/O" in str(error)


def copy_without(db, blocks):
    """A database in memory with all blocks except these, to be written to a new file.

    Raises
    ------
    sqlite3.OperationalError
        When it would be too large.
    """
    # Counted, as some or all of these blocks may be gone already.
    sizes = db.execute(
        "SELECT block_id, sum(length(data) + length(checksums)) FROM cells"
        " GROUP BY block_id"
    )
    if sum(n or 0 for block, n in sizes if block not in blocks) > MOST_BYTES_HELD:
        raise sqlite3.OperationalError("the disk is full, and what stays is large")
    kept = connect(":memory:")
    prepare(kept, None)
    with transaction(kept):
        copy_blocks(db, kept, leave_out=blocks)
        set_counters(kept, counters(db))
    return kept


def restore(kept, db):
    """Write what `copy_without` returned into a new database."""
    with transaction(db):
        copy_blocks(kept, db)
        set_counters(db, counters(kept))


def set_counters(db, values):
    """Set the lifetime counters of these names."""
    update = "UPDATE counters SET value = ? WHERE name = ?"
    db.executemany(update, [(n, name) for name, n in values.items()])
