"""The rows of a cache's tables: blocks of vectors, their keys, cells and checksums.

A block is what one put brought: the rows' keys, and for each cell (layer, pooling) all
its vectors as raw little-endian floats with a checksum a row. So 35 cells of 500 texts
are 35 values and not 17,500. This file gets an open database; it opens none.
"""

import hashlib
import json
import sqlite3
import time
import zlib
from contextlib import contextmanager

import numpy as np

# What reading a damaged value may raise. numpy evaluates the name of a dtype.
DAMAGE = (
    sqlite3.DatabaseError,
    ValueError,
    TypeError,
    IndexError,
    SyntaxError,
    OverflowError,
    MemoryError,
)
# Those that are written.
DTYPES = ("<f4", "<f2")


@contextmanager
def wanted(db, keys):
    """Put keys into the temporary table ``wanted``; what is read is of one moment."""
    db.execute(
        "CREATE TEMP TABLE IF NOT EXISTS wanted (position INTEGER PRIMARY KEY, key BLOB)"
    )
    db.execute("BEGIN")
    try:
        db.execute("DELETE FROM temp.wanted")
        db.executemany("INSERT INTO temp.wanted VALUES (?, ?)", enumerate(keys))
        yield
    finally:  # also after Ctrl-C: an open transaction would block this thread's next
        if db.in_transaction:
            db.execute("COMMIT")


def space_id_of(db, fingerprint):
    """The id of a space, which is made where it isn't there yet."""
    now = time.time()
    db.execute(
        "INSERT INTO spaces (fingerprint, note, bytes, created, last_used)"
        " VALUES (?, '{}', 0, ?, ?) ON CONFLICT DO NOTHING",
        (fingerprint, now, now),
    )
    query = "SELECT id FROM spaces WHERE fingerprint = ?"
    return db.execute(query, (fingerprint,)).fetchone()[0]


def merge_note(db, space_id, note):
    """Add facts to the note of a space; those of the same names are replaced."""
    query = "SELECT note FROM spaces WHERE id = ?"
    (old,) = db.execute(query, (space_id,)).fetchone()
    merged = json.dumps({**read_note(old), **note}, sort_keys=True)
    db.execute("UPDATE spaces SET note = ? WHERE id = ?", (merged, space_id))


def read_note(text):
    """The note of a space; empty where it is damaged, as nothing depends on it."""
    try:
        note = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def count_up(db, **counts):
    """Add to the lifetime counters of these names."""
    update = "UPDATE counters SET value = value + ? WHERE name = ?"
    db.executemany(update, [(n, name) for name, n in counts.items()])


def insert_block(db, space_id, keys, stored):
    """Add a block with its rows and cells; return its id.

    Parameters
    ----------
    db : sqlite3.Connection
        In a transaction.
    space_id : int
    keys : sequence of bytes
        Of the rows.
    stored : list of tuple
        The cells, as `as_stored` makes them.
    """
    digest = hashlib.sha256(b"".join(keys) + repr([c[:4] for c in stored]).encode())
    block = db.execute(
        "INSERT INTO blocks (space_id, n_rows, digest, created) VALUES (?, ?, ?, ?)",
        (space_id, len(keys), digest.digest(), time.time()),
    ).lastrowid
    rows = ((space_id, key, block, row) for row, key in enumerate(keys))
    db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
    # The same words each time: sqlite3 keeps 128 statements, each with its last vectors.
    db.executemany(
        "INSERT INTO cells (block_id, layer, pooling, dtype, dim, checksums, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((block, *row) for row in stored),
    )
    n_bytes = sum(len(checksums) + len(data) for *_, checksums, data in stored)
    update = "UPDATE spaces SET bytes = bytes + ? WHERE id = ?"
    db.execute(update, (n_bytes, space_id))
    return block


def remove_block(db, block):
    """Remove one block; return the bytes of its vectors."""
    query = "SELECT sum(length(data) + length(checksums)) FROM cells WHERE block_id = ?"
    n_bytes = db.execute(query, (block,)).fetchone()[0] or 0
    db.execute(
        "UPDATE spaces SET bytes = bytes - ?"
        " WHERE id = (SELECT space_id FROM blocks WHERE id = ?)",
        (n_bytes, block),
    )
    db.execute("DELETE FROM rows WHERE block_id = ?", (block,))
    db.execute("DELETE FROM cells WHERE block_id = ?", (block,))
    db.execute("DELETE FROM blocks WHERE id = ?", (block,))
    return n_bytes


def copy_blocks(other, db):
    """Copy the blocks of another database that aren't here; return their rows."""
    n_copied = 0
    spaces = other.execute("SELECT id, fingerprint, note FROM spaces").fetchall()
    for their_id, fingerprint, note in spaces:
        space_id = space_id_of(db, fingerprint)
        query = "UPDATE spaces SET note = ? WHERE id = ? AND note = '{}'"
        db.execute(query, (note, space_id))
        query = "SELECT digest FROM blocks WHERE space_id = ?"
        here = {digest for (digest,) in db.execute(query, (space_id,))}
        query = "SELECT id, digest FROM blocks WHERE space_id = ?"
        for block, digest in other.execute(query, (their_id,)).fetchall():
            if digest in here:
                continue
            query = "SELECT key FROM rows WHERE block_id = ? ORDER BY row"
            keys = [key for (key,) in other.execute(query, (block,))]
            cells = other.execute(
                "SELECT layer, pooling, dtype, dim, checksums, data FROM cells"
                " WHERE block_id = ? ORDER BY id",
                (block,),
            ).fetchall()
            insert_block(db, space_id, keys, cells)
            n_copied += len(keys)
    return n_copied


def _checksums(vectors, keys, layer, pooling):
    """CRC-32 of each row, its key and its cell, as uint32.

    With key and cell in it, a row that a damaged index leads to is found out too.
    """
    rows = memoryview(np.ascontiguousarray(vectors)).cast("B")
    step = vectors.shape[1] * vectors.itemsize
    crc32 = zlib.crc32
    cell = crc32(f"{layer} {pooling} {vectors.dtype.str} {vectors.shape[1]}".encode())
    return np.array(
        [
            crc32(rows[i * step : (i + 1) * step], crc32(key, cell))
            for i, key in enumerate(keys)
        ],
        "<u4",
    )


def verify_cell(db, cell_id):
    """Rows of one cell of one block, and how many of them are sound."""
    try:
        cell = db.execute(
            "SELECT b.n_rows, b.id, c.layer, c.pooling, c.dtype, c.dim, c.checksums,"
            " c.data FROM cells c JOIN blocks b ON b.id = c.block_id WHERE c.id = ?",
            (cell_id,),
        ).fetchone()
        if cell is None:
            return 0, 0  # pruned by another process
        n_rows, block, layer, pooling, *stored = cell
        query = "SELECT key FROM rows WHERE block_id = ? ORDER BY row"
        keys = [key for (key,) in db.execute(query, (block,))]
        vectors, checksums = _cell_arrays(*stored)
        if not len(keys) == len(vectors) == len(checksums) == n_rows:
            return n_rows, 0
        good = _checksums(vectors, keys, layer, pooling) == checksums
        good &= np.isfinite(vectors).all(1)  # earlier versions stored those, too
        return n_rows, int(good.sum())
    except DAMAGE:
        return 1, 0


def _cell_arrays(dtype, dim, checksums, data):
    if dtype not in DTYPES:
        raise ValueError(f"no dtype of vectors: {dtype!r}")
    vectors = np.frombuffer(data, dtype).reshape(-1, dim)
    return vectors, np.frombuffer(checksums, "<u4")


def read_places(db, places, keys, layer, pooling, out, found):
    """Fill `out` and `found` from blocks, each read once; return the damaged rows."""
    n_damaged = 0
    order = np.argsort(places[:, 1], kind="stable")
    places = places[order]
    for part in np.split(places, np.flatnonzero(np.diff(places[:, 1])) + 1):
        if not len(part):
            continue
        positions, rows = part[:, 0], part[:, 2]
        query = "SELECT dtype, dim, checksums, data FROM cells WHERE id = ?"
        try:
            cell = db.execute(query, (int(part[0, 1]),)).fetchone()
            if cell is None:
                continue  # pruned by another process since the look-up
            vectors, checksums = _cell_arrays(*cell)
            chosen = vectors[rows]
            asked = [keys[position] for position in positions]
            good = _checksums(chosen, asked, layer, pooling) == checksums[rows]
        except DAMAGE:
            n_damaged += len(part)
            continue
        if vectors.shape[1] != out.shape[1]:
            n_damaged += len(part)
            continue
        n_damaged += int(len(good) - good.sum())
        out[positions[good]] = chosen[good]
        found[positions[good]] = True
    return n_damaged


def find_keys(db, space):
    """Positions of the wanted keys that have a vector of any cell."""
    query = (
        "SELECT DISTINCT w.position FROM temp.wanted w CROSS JOIN rows r ON"
        " r.space_id = (SELECT id FROM spaces WHERE fingerprint = ?)"
        " AND r.key = w.key"
    )
    return [position for (position,) in db.execute(query, (space,))]


def find_places(db, space, layer, pooling):
    """(n, 3) ints: position of a wanted key, id of the cell, row in its block."""
    # CROSS JOIN keeps this order: SQLite's planner knows no sizes, and would scan the
    # cells for each key.
    query = (
        "SELECT w.position, c.id, r.row FROM temp.wanted w"
        " CROSS JOIN rows r ON"
        "  r.space_id = (SELECT id FROM spaces WHERE fingerprint = ?)"
        "  AND r.key = w.key"
        " CROSS JOIN cells c ON c.block_id = r.block_id"
        "  AND c.layer = ? AND c.pooling = ?"
    )
    found = db.execute(query, (space, layer, pooling)).fetchall()
    return np.array(found, dtype=np.int64).reshape(-1, 3)


def as_stored(keys, layer, pooling, vectors, dtype):
    """A cell as `insert_block` takes it; float32 where float16 would overflow."""
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    if len(vectors) != len(keys):
        raise ValueError(
            f"EmbeddingCache.put_many must get one vector for each of {len(keys)} "
            f"keys. Got {len(vectors)} for layer {layer}, {pooling!r}."
        )
    layer = int(layer)
    if dtype != "<f4":
        with np.errstate(over="ignore"):
            half = vectors.astype(dtype)
        if (np.isinf(half) == np.isinf(vectors)).all():
            vectors = half
        else:
            dtype = "<f4"
    checksums = _checksums(vectors, keys, layer, pooling).tobytes()
    return layer, pooling, dtype, vectors.shape[1], checksums, vectors.tobytes()
