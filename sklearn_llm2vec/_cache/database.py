"""One SQLite file: opening it, transactions, and whether it is ours."""

import os
import sqlite3
import time
from contextlib import contextmanager

from sklearn_llm2vec._common.checks import warn

FORMAT = 1
BUSY_SECONDS = 60

SCHEMA = """
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, note TEXT NOT NULL,
    bytes INTEGER NOT NULL, created REAL NOT NULL, last_used REAL NOT NULL);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, space_id INTEGER NOT NULL, n_rows INTEGER NOT NULL,
    digest BLOB NOT NULL, created REAL NOT NULL);
CREATE INDEX blocks_of_space ON blocks (space_id);
CREATE TABLE rows (
    space_id INTEGER NOT NULL, key BLOB NOT NULL, block_id INTEGER NOT NULL,
    row INTEGER NOT NULL, PRIMARY KEY (space_id, key, block_id)) WITHOUT ROWID;
CREATE INDEX rows_of_block ON rows (block_id);
CREATE TABLE cells (
    id INTEGER PRIMARY KEY, block_id INTEGER NOT NULL, layer INTEGER NOT NULL,
    pooling TEXT NOT NULL, dtype TEXT NOT NULL, dim INTEGER NOT NULL,
    checksums BLOB NOT NULL, data BLOB NOT NULL, UNIQUE (block_id, layer, pooling));
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('hits', 0), ('misses', 0), ('texts_encoded', 0);
"""


def connect(place, **kwargs):
    """A connection that waits for other processes; `kwargs` are those of sqlite3."""
    # No implicit transactions: they are opened by transaction, and nowhere else.
    return sqlite3.connect(place, timeout=BUSY_SECONDS, isolation_level=None, **kwargs)


@contextmanager
def transaction(db):
    """A context whose changes are made as a whole, or not at all."""
    # IMMEDIATE: a reader that turned writer in the middle could not wait its turn.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")  # a full disk may be noticed only here
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _write_ahead(db):
    """Ask for the write-ahead log; return the mode that the database is in."""
    # SQLite's own timeout doesn't cover two processes that switch a new file at once.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def check_format(db, file):
    """Refuse, and close, a database that isn't one of ours; a new, empty one will do.

    Raises
    ------
    ValueError
        For another program's database, something else, or a newer format.
    sqlite3.OperationalError
        When it can't be read now.
    """
    try:
        db.execute("BEGIN")  # both of one moment: another process may be making them
        (version,) = db.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        db.execute("COMMIT")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        db.close()
        raise ValueError(
            f"The file {file} must be the database of an EmbeddingCache. It contains "
            "something else and wasn't changed. Move it, or choose another path."
        ) from error
    if version > FORMAT:
        db.close()
        raise ValueError(
            f"The cache {file} must have format {FORMAT} or older. Got format {version}, "
            "of a newer sklearn-llm2vec: upgrade, or choose another path."
        )
    ours = {"spaces", "blocks", "rows", "cells", "counters"} <= tables
    if not ours if version else tables:
        db.close()
        raise ValueError(
            f"The file {file} must be the database of an EmbeddingCache. It is another "
            "program's SQLite database: choose another path."
        )


def identity(file):
    """Device and inode of a file; None when it isn't there."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def prepare(db, folder):
    """Set what a connection needs; make the tables of a new file."""
    mode = _write_ahead(db)
    if mode != "wal":
        warn(
            f"The file system of the cache {folder} doesn't support SQLite's "
            "write-ahead log, as is usual for network file systems. The slower "
            "rollback journal is used instead."
        )
        db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA mmap_size = 1073741824")
    # Keys are hashes, so their index is written all over. Pages that are only read
    # come from the memory map: more than 16 MB of copies made nothing faster.
    db.execute("PRAGMA cache_size = -16384")
    # The same pages are written again and again: fewer checkpoints write them less.
    db.execute("PRAGMA wal_autocheckpoint = 16384")
    db.execute("PRAGMA temp_store = MEMORY")
    with transaction(db):
        if db.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {FORMAT}")
