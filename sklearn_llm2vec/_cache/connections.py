"""A cache's connections to its database: one for each thread of each process.

SQLite forbids using a connection in another thread, and even closing it in a process that
inherited it by a fork.
"""

import os
import sqlite3
import threading
import weakref

from sklearn_llm2vec._cache.database import check_format, connect, identity, prepare
from sklearn_llm2vec._common.checks import warn

FILE = "embeddings.sqlite3"


class Connections:
    """Opens the database in `folder` for each thread that asks, and keeps it open.

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
        self._local = threading.local()
        self._warned = set()
        _living.add(self)

    def get(self, create=False):
        """The connection of this thread.

        Parameters
        ----------
        create : bool, default=False
            Whether folder and database are made when they aren't there.

        Returns
        -------
        sqlite3.Connection or None
            None when there is no database, or none can be made or read.

        Raises
        ------
        ValueError
            When the folder is a file, or the database is another program's or of a newer
            format.
        """
        local = self._local
        current = getattr(local, "connection", None)
        if current is not None and local.pid != os.getpid():
            # Made before a fork. SQLite forbids closing it here, so it is kept for good.
            _inherited.append(local.__dict__.pop("connection"))
        elif current is not None and local.file == identity(self._file):
            return current
        elif current is not None:  # somebody removed the folder: start anew
            self.close()
        if not create and not os.path.isfile(self._file):
            if os.path.exists(self._folder) and not os.path.isdir(self._folder):
                raise self._not_a_folder()
            return None
        local.pid, local.read_only = os.getpid(), False
        local.connection = self._open(create)
        local.file = identity(self._file)
        return local.connection

    def close(self):
        """Close this thread's connection; the next use opens another."""
        connection = self._local.__dict__.pop("connection", None)
        if connection is None:
            return
        if self._local.pid == os.getpid():
            connection.close()
        else:
            _inherited.append(connection)

    @property
    def read_only(self):
        """Whether this thread's connection was opened for reading only."""
        return getattr(self._local, "read_only", False)

    def close_before_fork(self):
        """Close this thread's connection, unless it is in the middle of a transaction."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and not connection.in_transaction:
            self.close()

    def warn_once(self, done, error):
        """Warn that the cache can't be ``"read"`` or ``"written"``: once for each."""
        if done not in self._warned:
            self._warned.add(done)
            warn(
                f"The cache {self._folder} can't be {done} ({error}). Results are the "
                "same, but texts are encoded again each time. Free some disk space, "
                "or choose another 'cache'."
            )

    def _open(self, create):
        db = None
        try:
            if create:
                self._folder.mkdir(parents=True, exist_ok=True)
            db = connect(self._file)
            check_format(db, self._file)
            prepare(db, self._folder)
            return db
        except (FileExistsError, NotADirectoryError) as error:
            raise self._not_a_folder() from error
        except OSError as error:
            self.warn_once("written", error)
            return None
        except sqlite3.OperationalError as error:
            if db is not None:
                db.close()
            self.warn_once("written", error)
            return self._open_read_only()

    def _open_read_only(self):
        if not os.path.isfile(self._file):
            return None
        self._local.read_only = True
        try:
            # immutable: a WAL database in a folder where no file can be made.
            uri = f"{self._file.resolve().as_uri()}?mode=ro&immutable=1"
            db = connect(uri, uri=True)
            db.execute("SELECT count(*) FROM spaces").fetchone()
            return db
        except sqlite3.Error:
            return None

    def _not_a_folder(self):
        return ValueError(
            "The path of an EmbeddingCache must be a folder (directory). Got "
            f"{str(self._folder)!r}, which is a file or is inside one: choose another "
            "path."
        )


_inherited = []
_living = weakref.WeakSet()


def _close_before_fork():
    # A child that inherits an open file believes it holds its locks, and the parent's
    # close would remove the log under it. Other threads' connections can't be reached.
    for connections in list(_living):
        connections.close_before_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_before_fork)
