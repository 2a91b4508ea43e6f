"""The database of a cache is opened when it is needed; if it can't be, one warning."""

import errno
import os
import sqlite3
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from sklearn_llm2vec._cache import pool
from sklearn_llm2vec._cache.database import (
    DAMAGED_FILE,
    FORMAT,
    MOST_QUOTED,
    OtherFormat,
    Unreadable,
    check_format,
    connect,
    identity,
    prepare,
)
from sklearn_llm2vec._cache.folder_lock import folder_lock
from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._common.shared_folders import make_folder, make_shared, touch

FILE = "embeddings.sqlite3"
# The database, and what SQLite puts beside it.
SUFFIXES = ("-wal", "-shm", "-journal", "")
# How often in a row something is done again because others replaced the file meanwhile.
MOST_REPLACED = 10
# No file can be made in a folder then: it is read-only, or the disk is full.
NOT_WRITABLE = {errno.EROFS, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Connections:
    """Opens the database in `folder` for whoever asks.

    Where the database can't be written, it is opened for reading; where it can't be read
    either, there is no connection. Both cost one warning.

    Parameters
    ----------
    folder : Path
        Where the database lies; it is made when it is to be written.
    """

    def __init__(self, folder):
        self._folder = folder
        self._file = folder / FILE
        self._warned = set()

    @contextmanager
    def using(self, create=False):
        """A context with a connection that only the calling thread uses.

        Parameters
        ----------
        create : bool, default=False
            Whether folder and database are made when they aren't there.

        Yields
        ------
        sqlite3.Connection or None
            None when there is no database, or none can be made or read.

        Raises
        ------
        Unreadable
            When the database is damaged.
        ValueError
            When the folder is a file, or the database is another program's or of a newer
            format.
        """
        with pool.in_use(), pool.lent(self._take(create)) as db:
            yield db

    @contextmanager
    def trying(self, create=False):
        """As `using`, for work that continues without a cache: damage is only a warning.

        A file that can't be recognized as a cache is an error here as well.
        """
        with pool.in_use(), pool.lent(self._take_if_sound(create)) as db:
            yield db

    def explained(self, work, create=False):
        """Return what `work` returns for a connection, and explain SQLite's errors.

        Parameters
        ----------
        work : callable
            Gets what `using` yields. It may be called again, as in `until_it_stays`.
        create : bool, default=False
            As in `using`.

        Raises
        ------
        ValueError
            When the database is damaged, and as in `using`.
        OSError
            When it can't be read or written now.
        """

        def work_if_open(db):
            if db is None and os.path.isfile(self._file):
                raise sqlite3.OperationalError("it can't be opened")
            return work(db)

        try:
            return self.until_it_stays(self.using, work_if_open, create)
        except OtherFormat as error:
            raise ValueError(
                f"The cache {self._folder} can't be used: {error}."
            ) from None
        except sqlite3.OperationalError as error:
            raise OSError(
                f"The cache {self._folder} can't be read or written ({_said(error)}). "
                "Free some disk space, or end the processes that use the cache, and try "
                "again. EmbeddingCache.clear() removes everything in the cache."
            ) from error
        except (sqlite3.Error, TypeError, OverflowError, UnicodeDecodeError) as error:
            raise ValueError(
                f"The cache {self._folder} is damaged ({_said(error)}). Damaged vectors "
                "are never used and are computed again when they are needed. "
                "EmbeddingCache.clear() removes everything in the cache."
            ) from error

    def until_it_stays(self, context, work, create=False):
        """Return what `work` returns for a connection to the present file.

        If somebody replaces the file meanwhile (`start_anew`), a result or an error of
        the old file means nothing, so the work is done again with the new one.

        Parameters
        ----------
        context : callable
            `using` or `trying`.
        work : callable
            Gets the connection, or None.
        create : bool, default=False
            As in `using`.
        """
        for is_last in [False] * MOST_REPLACED + [True]:
            with context(create) as db:
                try:
                    result = work(db)
                except (sqlite3.Error, TypeError, OverflowError, ValueError):
                    if is_last or db is None or not self.was_replaced(db):
                        raise
                else:
                    if is_last or db is None or not self.was_replaced(db):
                        return result

    def close(self):
        """Close the connections that no thread is using; the next use opens another."""
        pool.close_idle(self._file)

    def was_replaced(self, db):
        """Whether somebody removed the file since this connection was opened.

        Errors of the connection don't matter then; the next use gets the new file.
        """
        return pool.opened_of(db).is_stale(identity(self._file))

    def warn_once(self, done, error):
        """Warn that the cache can't be ``"read"`` or ``"written"``: once for each."""
        if done not in self._warned:
            self._warned.add(done)
            warn(
                f"The cache {self._folder} can't be {done} ({_said(error)}). Results are "
                "the same, but texts are encoded again each time. Free some disk space, "
                "choose another 'cache' or, if it is damaged, empty it with "
                "EmbeddingCache.clear()."
            )

    def warn_of_lock(self, error):
        """Warn once that processes can't wait for each other."""
        if isinstance(error, PermissionError) or error.errno in NOT_WRITABLE:
            self.warn_once("written", error)  # nor can vectors be
        elif "locked" not in self._warned:
            self._warned.add("locked")
            warn(
                f"A file in the cache {self._folder} can't be locked ({_said(error)}). "
                "Results are the same, but processes that need the same texts at the "
                "same time don't wait for each other, and encode them more than once. "
                "Choose another 'cache', on a file system with locks, to avoid this."
            )

    def start_anew(self, fill):
        """Put a new database in place of the present one, whatever that contains.

        The disk space of the old one is given back. Connections that others have open to
        it are of no use any more, which they notice at their next use.

        Parameters
        ----------
        fill : callable
            Gets the connection to the new database, before anybody else can open it.

        Raises
        ------
        OSError
            When the old one can't be removed.
        """
        self.close()
        # in_use: a child that is forked meanwhile would keep the lock.
        with pool.in_use(), folder_lock(self._folder, exclusive=True):
            self._remove()
            try:
                with closing(self._connected().db) as db:
                    fill(db)
            except (OSError, sqlite3.Error) as error:
                self.warn_once("written", error)

    def _remove(self):
        with ExitStack() as until_the_end:
            for suffix in SUFFIXES:
                path = Path(f"{self._file}{suffix}")
                if os.name != "nt" and suffix != "-shm" and path.is_file():
                    with suppress(PermissionError, FileNotFoundError):
                        file = until_the_end.enter_context(open(path, "r+b", 0))
                        until_the_end.callback(_empty_if_removed, file, path)
                path.unlink(missing_ok=True)

    def _take_if_sound(self, create):
        try:
            return self._take(create)
        except Unreadable as error:
            if not self._is_ours():
                raise
            self.warn_once("read", error.reason)
            return None

    def _take(self, create):
        while (opened := pool.take(self._file)) is not None:
            if not opened.is_stale(identity(self._file)):
                return opened
            pool.discard(opened)  # somebody removed the folder: start anew
        if not create and not self._is_there():
            if os.path.exists(self._folder) and not os.path.isdir(self._folder):
                raise self._not_a_folder()
            return None
        opened = self._open(create)
        if opened is not None:
            pool.add(opened)
        return opened

    def _is_there(self):
        with folder_lock(self._folder):  # not while another replaces it
            return os.path.isfile(self._file)

    def _open(self, create):
        try:
            if create:
                make_folder(self._folder)
            # The lock keeps others from replacing the file, of which SQLite opens three.
            with folder_lock(self._folder):
                return self._connected()
        except (FileExistsError, NotADirectoryError) as error:
            raise self._not_a_folder() from error
        except (OSError, sqlite3.OperationalError) as error:
            self.warn_once("written", error)
            return self._open_read_only()

    def _connected(self):
        """A new connection; the file is made if it isn't there. The folder is locked."""
        # With the permissions that SQLite gives to the files beside it, too.
        touch(self._file)
        make_shared(self._file)
        its_identity = identity(self._file)
        if pool.is_in_doubt(its_identity):
            raise sqlite3.OperationalError("a thread used it during the fork")
        with ExitStack() as if_refused:
            db = if_refused.enter_context(closing(connect(self._file)))
            try:
                check_format(db, self._file)
                prepare(db, self._folder)
            except sqlite3.OperationalError:
                raise
            except DAMAGED_FILE as error:
                raise Unreadable(self._file, error) from error
            if_refused.pop_all()
        return self._opened(db, its_identity)

    def _open_read_only(self):
        if not os.path.isfile(self._file):
            return None
        db, its_identity = None, identity(self._file)
        try:
            # immutable: a WAL database in a folder where no file can be made.
            uri = f"{self._file.resolve().as_uri()}?mode=ro&immutable=1"
            db = connect(uri, uri=True)
            # An older format could only be read after it was raised.
            if db.execute("PRAGMA user_version").fetchone() == (FORMAT,):
                check_format(db, self._file)
                return self._opened(db, its_identity, read_only=True)
        except (OSError, sqlite3.Error, Unreadable):
            pass
        if db is not None:
            db.close()
        return None

    def _opened(self, db, its_identity, read_only=False):
        return pool.Opened(db, self._file, its_identity, read_only, time.monotonic())

    def _is_ours(self):
        """Whether a file that SQLite can't read is a damaged cache, and not another's."""
        try:
            with open(self._file, "rb") as file:
                head = file.read(8192)
            # The first page has the definitions of the tables, and the format.
            if b"CREATE TABLE spaces" in head:
                return True
            version = int.from_bytes(head[60:64], "big")
            if head.startswith(b"SQLite format 3\0") and 0 < version <= FORMAT:
                return True
            names = os.listdir(self._folder)
        except OSError:
            return False
        return "facts.json" in names or any(
            name.startswith("encode-") and name.endswith(".lock") for name in names
        )

    def _not_a_folder(self):
        return ValueError(
            "The path of an EmbeddingCache must be a folder (directory). Got "
            f"{str(self._folder)!r}, which is a file or a broken link, or is inside one: "
            "choose another path."
        )


def _said(error):
    """What SQLite or the system says, which may quote names from a damaged file."""
    return printable(error, MOST_QUOTED)


def _empty_if_removed(file, path):
    """Free the disk space of a file that other processes have open."""
    # Only once its name is gone: otherwise they would take the file for damaged.
    with suppress(OSError):
        if not path.exists():
            file.truncate(0)
