"""One SQLite file: opening it, transactions, and whether it is ours."""

import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from functools import cache

from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.people import printable

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
COLUMN_OF_2 = "format INTEGER NOT NULL DEFAULT 1"
# The statements that convert each older format to the current one. Existing blocks, and
# those that an older version still writes, get the default of the new column.
UPGRADES = {0: SCHEMA, 1: f"ALTER TABLE blocks ADD COLUMN {COLUMN_OF_2}"}
# What each format defines, word for word: SQLite adds a column to the stored text.
SCHEMAS = {0: "", 1: SCHEMA.replace(f", {COLUMN_OF_2}", ""), 2: SCHEMA}
DEFINITIONS = "SELECT type, name, tbl_name, sql FROM sqlite_master"
# Most letters of a damaged or foreign database that a message quotes.
MOST_QUOTED = 200


# What SQLite raises for a damaged file. Its message may quote bytes that aren't text,
# which Python then fails to decode.
DAMAGED_FILE = (sqlite3.DatabaseError, UnicodeDecodeError)


class Unreadable(ValueError):
    """A file that SQLite can't read as a database, or not as one of ours.

    Parameters
    ----------
    file : path-like
    reason : object
        What is wrong with it; it may quote names from the file.
    """

    def __init__(self, file, reason):
        self.reason = printable(reason, MOST_QUOTED)
        super().__init__(
            f"The file {file} must be the database of an EmbeddingCache. It is damaged "
            f"or contains something else ({self.reason}). It wasn't changed. Remove it "
            "with EmbeddingCache.clear(), or choose another path."
        )


class OtherFormat(sqlite3.DatabaseError):
    """Another version raised the format since the database was opened."""


class _Busy(sqlite3.OperationalError):
    """Another process is writing."""


class _Connection(sqlite3.Connection):
    # Whether the last wait for another process's transaction was in vain.
    gave_up = False


def connect(place, **kwargs):
    """A connection that waits for other processes; `kwargs` are those of sqlite3."""
    # No implicit transactions: they are opened by transaction, and nowhere else. One
    # thread uses it at a time, not always the same.
    db = sqlite3.connect(
        place,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
        **kwargs,
    )
    # None of these reads the file, and all of them hold from its first page on. What its
    # schema calls must be harmless, and a damaged page is refused before it is used. No
    # memory map: a file that is cut short while it is open would end the process.
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        db.execute(f"PRAGMA {pragma}")
    return db


@contextmanager
def one_moment(db):
    """A context in which all that is read is of the same moment."""
    db.execute("BEGIN")
    try:
        yield
    finally:  # also after Ctrl-C: an open transaction would block this thread's next
        if db.in_transaction:
            db.execute("COMMIT")


@contextmanager
def transaction(db):
    """A context whose changes are made as a whole, or not at all."""
    with _writing(db, _begin):
        check_unchanged(db)
        yield


@contextmanager
def transaction_at_once(db):
    """As `transaction`, but an OperationalError where another process is writing."""
    with _writing(db, _begin_at_once):
        check_unchanged(db)
        yield


@contextmanager
def _writing(db, begin):
    begin(db)
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
    seconds = 0.2
    if not getattr(db, "gave_up", False):
        with suppress(_Busy):
            return _begin_within(db, NOTICE_SECONDS)
        warn(
            f"Waiting for another process, which has been writing to the cache for "
            f"{NOTICE_SECONDS} seconds. After {BUSY_SECONDS} seconds, this process "
            "continues without storing vectors."
        )
        seconds = BUSY_SECONDS - NOTICE_SECONDS
    try:
        _begin_within(db, seconds)
    except _Busy:
        db.gave_up = True
        raise
    db.gave_up = False


def _begin_at_once(db):
    _begin_within(db, 0)


def _begin_within(db, seconds):
    try:
        db.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}")
        # IMMEDIATE: a reader that turned writer in the middle could not wait its turn.
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise _Busy(str(error)) from error
        raise
    finally:  # for everything else that may have to wait
        db.execute(f"PRAGMA busy_timeout = {int(1000 * BUSY_SECONDS)}")


def check_unchanged(db):
    """Refuse a database whose format another version raised since it was opened.

    Raises
    ------
    sqlite3.DatabaseError
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if FORMAT < version < LARGEST_FORMAT:
        raise OtherFormat(_newer(version))
    if version != FORMAT:
        raise sqlite3.DatabaseError(f"no format: {version}")


def _newer(version):
    return (
        f"a newer version of sklearn-llm2vec has changed its format from {FORMAT} to "
        f"{version}, so upgrade this one"
    )


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
        found = set(db.execute(DEFINITIONS))
        db.execute("COMMIT")
    except DAMAGED_FILE as error:
        passing = isinstance(error, sqlite3.OperationalError)
        if passing and "malformed" not in str(error):
            raise  # locked, or no file could be opened
        db.close()
        raise Unreadable(file, error) from error
    # Nothing beside the tables of a cache: a view could stand for a table, and a trigger
    # would run with each vector that is stored.
    if version in SCHEMAS and found == _definitions(version):
        return
    db.close()
    raise _refused(file, version, found)


def _refused(file, version, found):
    """The error for a database whose definitions aren't those of a cache."""
    tables = {name for kind, name, *_ in found if kind == "table"}
    if len(TABLES & tables) < 3:  # some may be lost with a damaged page
        return ValueError(
            f"The file {file} must be the database of an EmbeddingCache. It is another "
            "program's SQLite database: choose another path."
        )
    if FORMAT < version < LARGEST_FORMAT:
        return ValueError(
            f"The cache {file} can't be used: {_newer(version)}, or choose another path."
        )
    foreign = found - _definitions(version)
    kinds = {kind for kind, *_ in foreign}
    is_whole = version > 0 and version in SCHEMAS and _definitions(version) < found
    if is_whole or kinds & {"view", "trigger"}:
        names = sorted(f"the {kind} {name!r}" for kind, name, *_ in foreign)
        return ValueError(
            f"The file {file} must be the database of an EmbeddingCache, with its tables "
            f"and nothing else. Got {printable(', '.join(names), MOST_QUOTED)} as well. "
            "It wasn't changed: remove the file if nobody needs it, or choose another "
            "path."
        )
    names = ", ".join(sorted(map(str, tables)))
    return Unreadable(file, f"format {version}, tables {names}")


@cache
def _definitions(version):
    """What a database of this format defines; in one that is damaged, a bit differs."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMAS.get(version, ""))
        return frozenset(db.execute(DEFINITIONS).fetchall())


def identity(file):
    """Device and inode of a file; None when it isn't there."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def prepare(db, folder):
    """Set what a connection needs; make the tables of a new file, or raise its format."""
    mode = _write_ahead(db)
    if mode not in ("wal", "memory"):
        warn(
            f"The file system of the cache {folder} doesn't support SQLite's "
            "write-ahead log, as is usual for network file systems. The slower "
            "rollback journal is used instead."
        )
        db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA synchronous = NORMAL")
    # Keys are hashes, so their index is written all over.
    db.execute("PRAGMA cache_size = -16384")
    # The same pages are written again and again: fewer checkpoints write them less.
    db.execute("PRAGMA wal_autocheckpoint = 16384")
    db.execute("PRAGMA temp_store = MEMORY")
    if db.execute("PRAGMA user_version").fetchone() != (FORMAT,):
        with _writing(db, _begin):
            # Anew: another process may have been faster.
            (version,) = db.execute("PRAGMA user_version").fetchone()
            for statement in UPGRADES.get(version, "").split(";"):
                db.execute(statement)
            if version in UPGRADES:
                db.execute(f"PRAGMA user_version = {FORMAT}")
