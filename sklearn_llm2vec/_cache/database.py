"""One SQLite file: opening it, transactions, and whether it is ours."""

import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from functools import cache

from sklearn_llm2vec._common.checks import warn

# 1: a row's checksum is made without the space; such rows are still read.
FORMAT = 2
BUSY_SECONDS = 60
# After this time, a warning says that another process is waited for.
NOTICE_SECONDS = 10
# A larger number isn't a version but a flipped bit.
LARGEST_FORMAT = 1000

SCHEMA = """
CREATE TABLE spaces (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, note TEXT NOT NULL,
    bytes INTEGER NOT NULL, created REAL NOT NULL, last_used REAL NOT NULL);
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, space_id INTEGER NOT NULL, n_rows INTEGER NOT NULL,
    digest BLOB NOT NULL, created REAL NOT NULL, format INTEGER NOT NULL DEFAULT 1);
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
TABLES = {"spaces", "blocks", "rows", "cells", "counters"}
# The statements that convert each older format to the current one. Existing blocks, and
# those that an older version still writes, get the default of the new column.
UPGRADES = {
    0: SCHEMA,
    1: "ALTER TABLE blocks ADD COLUMN format INTEGER NOT NULL DEFAULT 1",
}


# What SQLite raises for a damaged file. Its message may quote bytes that aren't text,
# which Python then fails to decode.
DAMAGED_FILE = (sqlite3.DatabaseError, UnicodeDecodeError)


class Unreadable(ValueError):
    """A file that SQLite can't read as a database, or not as one of ours."""


class OtherFormat(sqlite3.DatabaseError):
    """Another version raised the format since the database was opened."""


class _Connection(sqlite3.Connection):
    # Whether the last wait for another process's transaction was in vain.
    gave_up = False


def connect(place, **kwargs):
    """A connection that waits for other processes; `kwargs` are those of sqlite3."""
    # No implicit transactions: they are opened by transaction, and nowhere else. One
    # thread uses it at a time, not always the same.
    return sqlite3.connect(
        place,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
        **kwargs,
    )


@contextmanager
def transaction(db):
    """A context whose changes are made as a whole, or not at all."""
    with _writing(db):
        check_unchanged(db)
        yield


@contextmanager
def _writing(db):
    _begin(db)
    try:
        yield
        db.execute("COMMIT")  # a full disk may be noticed only here
    except BaseException:
        if db.in_transaction:
            with suppress(sqlite3.Error):  # or it would hide what went wrong
                db.execute("ROLLBACK")
        raise


def _begin(db):
    """Wait for the turn to write: a minute the first time, and briefly after that."""
    gave_up = getattr(db, "gave_up", False)
    for seconds in (
        (0.2,) if gave_up else (NOTICE_SECONDS, BUSY_SECONDS - NOTICE_SECONDS)
    ):
        db.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
        try:
            # IMMEDIATE: a reader that turned writer in the middle could not wait its
            # turn.
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            if seconds != NOTICE_SECONDS:
                db.gave_up = True
                raise
            warn(
                f"Waiting for another process, which has been writing to the cache for "
                f"{NOTICE_SECONDS} seconds. After {BUSY_SECONDS} seconds, this process "
                "continues without storing vectors."
            )
        else:
            db.gave_up = False
            return


def check_unchanged(db):
    """Refuse a database whose format another version raised since it was opened.

    Raises
    ------
    sqlite3.DatabaseError
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if FORMAT < version < LARGEST_FORMAT:
        raise OtherFormat(
            f"a newer version of sklearn-llm2vec has changed its format from {FORMAT} to "
            f"{version}, so upgrade this one"
        )
    if version != FORMAT:
        raise sqlite3.DatabaseError(f"no format: {version}")


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
    Unreadable
        When it is no database, or damaged.
    ValueError
        For another program's database, or a newer format.
    sqlite3.OperationalError
        When it can't be read now.
    """
    try:
        db.execute("BEGIN")  # both of one moment: another process may be making them
        (version,) = db.execute("PRAGMA user_version").fetchone()
        found = set(db.execute("SELECT name, sql FROM sqlite_master"))
        db.execute("COMMIT")
    except DAMAGED_FILE as error:
        passing = isinstance(error, sqlite3.OperationalError)
        if passing and "malformed" not in str(error):
            raise  # locked, or no file could be opened
        db.close()
        raise unreadable(file, error) from error
    tables = {name for name, _ in found}
    if version == 0 and not tables:
        return
    if 0 < version < FORMAT and TABLES <= tables:
        return
    if version == FORMAT and _schema() <= found:
        return
    db.close()
    if len(TABLES & tables) < 3:  # some may be lost with a damaged page
        raise ValueError(
            f"The file {file} must be the database of an EmbeddingCache. It is another "
            "program's SQLite database: choose another path."
        )
    if FORMAT < version < LARGEST_FORMAT:
        raise ValueError(
            f"The cache {file} must have format {FORMAT} or older. Got format {version}, "
            "of a newer sklearn-llm2vec: upgrade, or choose another path."
        )
    raise unreadable(
        file, f"format {version}, tables {', '.join(sorted(map(str, tables)))}"
    )


@cache
def _schema():
    """Names and definitions of the tables, in which a bit may be flipped."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA)
        query = "SELECT name, sql FROM sqlite_master"
        return frozenset(db.execute(query).fetchall())


def unreadable(file, error):
    """The error for a file that can't be read as a cache."""
    return Unreadable(
        f"The file {file} must be the database of an EmbeddingCache. It is damaged or "
        f"contains something else ({error}). It wasn't changed. Remove it with "
        "EmbeddingCache.clear(), or choose another path."
    )


def identity(file):
    """Device and inode of a file; None when it isn't there."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def prepare(db, folder):
    """Set what a connection needs; make the tables of a new file, or raise its format."""
    # A damaged page is refused before it is used.
    db.execute("PRAGMA cell_size_check = ON")
    mode = _write_ahead(db)
    if mode not in ("wal", "memory"):
        warn(
            f"The file system of the cache {folder} doesn't support SQLite's "
            "write-ahead log, as is usual for network file systems. The slower "
            "rollback journal is used instead."
        )
        db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA synchronous = NORMAL")
    # No memory map: a file that is cut short while it is open would end the process.
    db.execute("PRAGMA mmap_size = 0")
    # Keys are hashes, so their index is written all over.
    db.execute("PRAGMA cache_size = -16384")
    # The same pages are written again and again: fewer checkpoints write them less.
    db.execute("PRAGMA wal_autocheckpoint = 16384")
    db.execute("PRAGMA temp_store = MEMORY")
    if db.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        with _writing(db):
            # Anew: another process may have been faster.
            (version,) = db.execute("PRAGMA user_version").fetchone()
            for statement in UPGRADES.get(version, "").split(";"):
                db.execute(statement)
            if version in UPGRADES:
                db.execute(f"PRAGMA user_version = {FORMAT}")
