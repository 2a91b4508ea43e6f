"""The rows of a cache's tables: blocks of vectors, their keys, cells and checksums.

A block is what one put brought: the rows' keys, and for each cell (layer, pooling) all
its vectors as raw little-endian floats with a checksum a row. So 35 cells of 500 texts
are 35 values and not 17,500. This file gets an open database; it opens none.

The checksum of a row covers everything that the row was stored under: space, cell, key.
If a damaged index or table leads to another row, the checksum doesn't fit.
"""

import hashlib
import json
import sqlite3
import time
import zlib
from contextlib import contextmanager

import numpy as np

from sklearn_llm2vec._cache.database import FORMAT, check_unchanged, one_moment
from sklearn_llm2vec._common.damaged_json import DAMAGED_JSON

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


class Unsound(sqlite3.DatabaseError):
    """A database that is copied from is damaged, and not the one that is written."""


@contextmanager
def wanted(db, keys):
    """Put keys into the temporary table ``wanted``; what is read is of one moment."""
    db.execute(
        "CREATE TEMP TABLE IF NOT EXISTS wanted (position INTEGER PRIMARY KEY, key BLOB)"
    )
    with one_moment(db):
        check_unchanged(db)
        db.execute("DELETE FROM temp.wanted")
        db.executemany("INSERT INTO temp.wanted VALUES (?, ?)", enumerate(keys))
        yield


def space_id_of(db, fingerprint):
    """The id of a space, which is made where it isn't there yet."""
    now = time.time()
    db.execute(
        "INSERT INTO spaces (fingerprint, note, bytes, created, last_used)"
        " VALUES (?, '{}', 0, ?, ?) ON CONFLICT DO NOTHING",
        (fingerprint, now, now),
    )
    query = "SELECT id FROM spaces WHERE fingerprint = ?"
    return _only(db.execute(query, (fingerprint,)))


def _only(rows):
    """The value of a query that has one row, unless an index is damaged."""
    row = rows.fetchone()
    if row is None:
        raise sqlite3.DatabaseError("an index of the database is damaged")
    return row[0]


def merge_note(db, space_id, note):
    """Add facts to the note of a space; those of the same names are replaced."""
    query = "SELECT note FROM spaces WHERE id = ?"
    old = _only(db.execute(query, (space_id,)))
    merged = json.dumps({**read_note(old), **note}, sort_keys=True)
    db.execute("UPDATE spaces SET note = ? WHERE id = ?", (merged, space_id))


def read_note(text):
    """The note of a space; empty where it is damaged, as nothing depends on it."""
    try:
        note = json.loads(text)
    except DAMAGED_JSON:
        return {}
    return note if isinstance(note, dict) else {}


def count_up(db, **counts):
    """Add to the lifetime counters of these names."""
    update = "UPDATE counters SET value = value + ? WHERE name = ?"
    db.executemany(update, [(n, name) for name, n in counts.items()])


def insert_block(db, space_id, keys, stored, form=FORMAT):
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
    form : int
        The format of their checksums.
    """
    digest = hashlib.sha256(b"".join(keys) + repr([c[:4] for c in stored]).encode())
    block = db.execute(
        "INSERT INTO blocks (space_id, n_rows, digest, created, format)"
        " VALUES (?, ?, ?, ?, ?)",
        (space_id, len(keys), digest.digest(), time.time(), form),
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


def copy_blocks(other, db, leave_out=()):
    """Copy the blocks of another database that aren't here; return their rows.

    Raises
    ------
    Unsound
        When the other can't be read, or holds values that no cache has.
    sqlite3.Error
        When this one can't be written.
    """
    n_copied = 0
    ((version,),) = _read(other, "PRAGMA user_version")
    form = "1" if version == 1 else "format"
    spaces = _read(other, "SELECT id, fingerprint, note FROM spaces")
    for their_id, fingerprint, note in spaces:
        space_id = space_id_of(db, fingerprint)
        query = "UPDATE spaces SET note = ? WHERE id = ? AND note = '{}'"
        db.execute(query, (note, space_id))
        query = "SELECT digest FROM blocks WHERE space_id = ?"
        here = {digest for (digest,) in db.execute(query, (space_id,))}
        query = f"SELECT id, digest, {form} FROM blocks WHERE space_id = ?"
        for block, digest, its_form in _read(other, query, their_id):
            if digest in here or block in leave_out:
                continue
            query = "SELECT key FROM rows WHERE block_id = ? ORDER BY row"
            keys = [key for (key,) in _read(other, query, block)]
            cells = _read(
                other,
                "SELECT layer, pooling, dtype, dim, checksums, data FROM cells"
                " WHERE block_id = ? ORDER BY id",
                block,
            )
            try:
                insert_block(db, space_id, keys, cells, its_form)
            except (sqlite3.IntegrityError, TypeError) as error:  # keys that are twice
                raise Unsound(error) from error
            n_copied += len(keys)
    return n_copied


def _read(other, query, *values):
    try:
        return other.execute(query, values).fetchall()
    except DAMAGE as error:
        raise Unsound(error) from error


def _checksums(vectors, keys, layer, pooling, space):
    """CRC-32 of each row and of what it was stored under, as uint32.

    Parameters
    ----------
    vectors : ndarray of shape (n_rows, dim)
    keys : sequence of bytes
        Of the rows.
    layer : int
    pooling : str
    space : str or None
        None in format 1, whose checksums leave it out.
    """
    rows = memoryview(np.ascontiguousarray(vectors)).cast("B")
    step = vectors.shape[1] * vectors.itemsize
    crc32 = zlib.crc32
    under = f"{layer} {pooling} {vectors.dtype.str} {vectors.shape[1]}"
    cell = crc32((under if space is None else f"{space} {under}").encode())
    return np.array(
        [
            crc32(rows[i * step : (i + 1) * step], crc32(key, cell))
            for i, key in enumerate(keys)
        ],
        "<u4",
    )


def _space_of(form, fingerprint, space):
    """The space that the checksums of a block cover.

    In format 1, they cover none. There, only the tables tell which space a block belongs
    to, so the fingerprint in them is compared. Indexes aren't used for this.
    """
    if form == FORMAT:
        return space
    if form == 1 and fingerprint == space:
        return None
    raise ValueError(f"no block of this space: format {form!r}")


def verify_cell(db, cell_id):
    """Rows of one cell of one block, and how many of them are sound."""
    try:
        with one_moment(db):
            cell, rows = _stored_cell(db, cell_id)
        if cell is None:
            return 0, 0  # pruned by another process
        n_rows, space_id, form, fingerprint, layer, pooling, *stored = cell
        vectors, checksums = _cell_arrays(*stored)
        if not len(vectors) == len(checksums) == n_rows or [
            place for *place, _ in rows
        ] != [[space_id, row] for row in range(n_rows)]:
            return n_rows, 0
        keys = [key for *_, key in rows]
        space = _space_of(form, fingerprint, fingerprint)
        good = _checksums(vectors, keys, layer, pooling, space) == checksums
        good &= np.isfinite(vectors).all(1)  # earlier versions stored those, too
        return n_rows, int(good.sum())
    except DAMAGE:
        return 1, 0


def _stored_cell(db, cell_id):
    """A cell and the rows of its block; None and nothing if it isn't there."""
    cell = db.execute(
        "SELECT b.id, b.n_rows, b.space_id, b.format, s.fingerprint, c.layer,"
        " c.pooling, c.dtype, c.dim, c.checksums, c.data FROM cells c"
        " JOIN blocks b ON b.id = c.block_id"
        " LEFT JOIN spaces s ON s.id = b.space_id WHERE c.id = ?",
        (cell_id,),
    ).fetchone()
    if cell is None:
        return None, []
    block, *cell = cell
    query = "SELECT space_id, row, key FROM rows WHERE block_id = ? ORDER BY row"
    return cell, db.execute(query, (block,)).fetchall()


def _cell_arrays(dtype, dim, checksums, data):
    if dtype not in DTYPES:
        raise ValueError(f"no dtype of vectors: {dtype!r}")
    vectors = np.frombuffer(data, dtype).reshape(-1, dim)
    return vectors, np.frombuffer(checksums, "<u4")


def read_places(db, places, keys, space, layer, pooling, out, found):
    """Fill `out` and `found` from blocks, each read once; return damaged positions."""
    damaged = []
    order = np.argsort(places[:, 1], kind="stable")
    places = places[order]
    for part in np.split(places, np.flatnonzero(np.diff(places[:, 1])) + 1):
        if not len(part):
            continue
        positions, rows = part[:, 0], part[:, 2]
        try:
            cell = _read_cell(db, int(part[0, 1]), space)
            if cell is None:
                continue  # pruned by another process since the look-up
            vectors, checksums, its_space = cell
            chosen = vectors[rows]
            asked = [keys[position] for position in positions]
            made = _checksums(chosen, asked, layer, pooling, its_space)
            good = made == checksums[rows]
            if vectors.shape[1] != out.shape[1]:
                raise ValueError(f"no vectors of {out.shape[1]} features")
        except DAMAGE:
            damaged.extend(positions)
            continue
        damaged.extend(positions[~good])
        out[positions[good]] = chosen[good]
        found[positions[good]] = True
    return damaged


def _read_cell(db, cell_id, space):
    """Vectors and checksums of a cell, and the space they cover; None if it is gone."""
    cell = db.execute(
        "SELECT c.dtype, c.dim, c.checksums, c.data, b.format, s.fingerprint"
        " FROM cells c JOIN blocks b ON b.id = c.block_id"
        " LEFT JOIN spaces s ON s.id = b.space_id WHERE c.id = ?",
        (cell_id,),
    ).fetchone()
    if cell is None:
        return None
    *stored, form, fingerprint = cell
    return *_cell_arrays(*stored), _space_of(form, fingerprint, space)


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


def as_stored(space, keys, layer, pooling, vectors, dtype):
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
    checksums = _checksums(vectors, keys, layer, pooling, space).tobytes()
    return layer, pooling, dtype, vectors.shape[1], checksums, vectors.tobytes()
