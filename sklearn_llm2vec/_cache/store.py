"""``EmbeddingCache``: vectors on disk, shared by processes and sessions.

One SQLite file in WAL mode (``database``), which holds blocks of vectors
(``blocks``). Texts are never stored, only 16-byte keys. A space is a name, a cell
two values.
"""

import hashlib
import json
import numbers
import os
import shutil
import sqlite3
import threading
import time
import warnings
import weakref
from contextlib import closing, nullcontext
from datetime import timedelta
from pathlib import Path

import numpy as np

from sklearn_llm2vec._cache.blocks import (
    as_stored,
    copy_blocks,
    find_places,
    insert_block,
    read_places,
    remove_block,
    space_id_of,
    space_info,
    verify_cell,
    wanted,
)
from sklearn_llm2vec._cache.database import (
    check_format,
    connect,
    identity,
    prepare,
    transaction,
)
from sklearn_llm2vec._common.places import default_directory, host_folder
from sklearn_llm2vec._common.public import public_in

FILE = "embeddings.sqlite3"
ADAPTERS = "adapters"
KEYS_AT_A_TIME = 20_000
STORAGES = {"float32": "<f4", "float16": "<f2"}


@public_in("sklearn_llm2vec")
class EmbeddingCache:
    """A persistent store of text vectors, safe for threads and processes of one host.

    Parameters
    ----------
    path : path-like or None, default=None
        A folder; it is made when the first vector is stored. None is
        ``$SKLEARN_LLM2VEC_CACHE``, else the platform's folder for caches.
    size_limit : int, default=20_000_000_000
        Bytes of vectors. When a put exceeds it, the blocks of the space used longest ago
        go first, with a warning.
    storage : {"float32", "float16"}, default="float32"
        How vectors that are put from now on are stored. A block that would overflow
        float16 is stored as float32.

    Attributes
    ----------
    path : Path
        Where this host keeps it: the folder, or on a network file system the folder
        ``hosts/{name of the host}`` in it.

    Notes
    -----
    Nothing is opened before the first use. A pickled cache is its path and settings;
    where it arrives on another host, that host has a database of its own. A
    damaged row counts as absent, with a warning, and is made again. When the disk is full
    or read-only, vectors aren't stored, with one warning, and results are the same.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from sklearn_llm2vec import EmbeddingCache
    >>> cache = EmbeddingCache(tempfile.mkdtemp())
    >>> keys = [b"0123456789abcdef"]
    >>> cache.put_many("space", keys, {(3, "mean"): np.ones((1, 4), np.float32)})
    20
    >>> out = np.zeros((1, 4), np.float32)
    >>> cache.get_many("space", keys, 3, "mean", out)
    array([ True])
    >>> cache.info()["texts"]
    1
    """

    def __init__(self, path=None, *, size_limit=20_000_000_000, storage="float32"):
        # Absolute: a worker that gets this cache may have another working directory.
        place = default_directory() if path is None else Path(path).expanduser()
        self._place = place.absolute()
        self.size_limit = size_limit
        self.storage = storage
        self._start()

    def _start(self):
        self.path = host_folder(self._place)
        self._local = threading.local()
        self._warned = set()
        self._n_uncounted = 0  # misses from before there was a database
        self.takes_turns = True
        _living[id(self)] = self

    # --- identity --------------------------------------------------------------------

    def _settings(self):
        return str(self._place), self.size_limit, self.storage

    def __repr__(self):
        path, size_limit, storage = self._settings()
        return f"EmbeddingCache({path!r}, size_limit={size_limit}, storage={storage!r})"

    def __eq__(self, other):
        return type(other) is type(self) and self._settings() == other._settings()

    def __hash__(self):
        return hash(self._settings())

    def __getstate__(self):
        return dict(
            zip(("path", "size_limit", "storage"), self._settings(), strict=True)
        )

    def __setstate__(self, state):
        self._place = Path(state["path"])
        self.size_limit, self.storage = state["size_limit"], state["storage"]
        self._start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Close this thread's connection; the next use opens another."""
        connection = self._local.__dict__.pop("connection", None)
        if connection is None:
            return
        if self._local.pid == os.getpid():
            connection.close()
        else:
            _inherited.append(connection)

    # --- reading ---------------------------------------------------------------------

    def get_many(self, space, keys, layer, pooling, out, *, count=True):
        """Read the vectors of one cell.

        Parameters
        ----------
        space : str
            Fingerprint of all that changes a vector but layer and pooling.
        keys : sequence of bytes, shape (n_keys,)
            16 bytes each.
        layer : int
            Hidden state, counted from 0.
        pooling : str
            Name of the pooling.
        out : float32 ndarray of shape (n_keys, dim)
            Rows of keys that are there are filled, others are left as they are.
        count : bool, default=True
            Whether this adds to the lifetime counters ``hits`` and ``misses``.

        Returns
        -------
        found : bool ndarray of shape (n_keys,)

        Raises
        ------
        ValueError
            When the place can't be a cache: a file, a newer format, no database.
        """
        found = np.zeros(len(keys), bool)
        layer, n_damaged = int(layer), 0
        db = self._connection()
        if db is not None:
            for start in range(0, len(keys), KEYS_AT_A_TIME):
                part = slice(start, start + KEYS_AT_A_TIME)
                try:
                    with wanted(db, keys[part]):
                        places = find_places(db, space, layer, pooling)
                        n_damaged += read_places(
                            db,
                            places,
                            keys[part],
                            layer,
                            pooling,
                            out[part],
                            found[part],
                        )
                except sqlite3.DatabaseError as error:
                    self._warn_once(
                        "read", f"The cache {self.path} can't be read", error
                    )
        if n_damaged:
            warnings.warn(
                f"{n_damaged} damaged rows in the cache {self.path} were not used; their "
                "vectors are made again. EmbeddingCache.verify() tells how much is.",
                UserWarning,
                stacklevel=2,
            )
        if count and db is None:
            self._n_uncounted += len(keys)
        elif count:
            self._count(db, space, int(found.sum()), int(len(keys) - found.sum()))
        return found

    def has_any(self, space, keys):
        """Which keys have a vector of any cell.

        Parameters
        ----------
        space : str
            Fingerprint, as in `get_many`.
        keys : sequence of bytes, shape (n_keys,)
            16 bytes each.

        Returns
        -------
        bool ndarray of shape (n_keys,)
        """
        there = np.zeros(len(keys), bool)
        db = self._connection()
        if db is None:
            return there
        for start in range(0, len(keys), KEYS_AT_A_TIME):
            part = keys[start : start + KEYS_AT_A_TIME]
            query = (
                "SELECT DISTINCT w.position FROM temp.wanted w CROSS JOIN rows r ON"
                " r.space_id = (SELECT id FROM spaces WHERE fingerprint = ?)"
                " AND r.key = w.key"
            )
            try:
                with wanted(db, part):
                    found = db.execute(query, (space,)).fetchall()
            except sqlite3.DatabaseError as error:
                self._warn_once("read", f"The cache {self.path} can't be read", error)
                continue
            there[[start + position for (position,) in found]] = True
        return there

    def _count(self, db, space, hits, misses):
        try:
            with transaction(db):
                bump = "UPDATE counters SET value = value + ? WHERE name = ?"
                db.executemany(bump, [(hits, "hits"), (misses, "misses")])
                use = "UPDATE spaces SET last_used = ? WHERE fingerprint = ?"
                db.execute(use, (time.time(), space))
        except sqlite3.Error:
            pass  # read-only: then nobody counts

    # --- writing ---------------------------------------------------------------------

    def put_many(self, space, keys, cells):
        """Store the vectors of a pass as one block; all of it or nothing.

        Parameters
        ----------
        space : str
            Fingerprint, as in `get_many`.
        keys : sequence of bytes, shape (n_rows,)
            16 bytes each, distinct.
        cells : dict of (int, str) to float32 ndarray of shape (n_rows, dim)
            The vectors of each (layer, pooling).

        Returns
        -------
        int
            Bytes stored; 0 when the disk is full or read-only.
        """
        db = self._connection(create=True)
        if db is None or not len(keys):
            return 0
        stored = [
            as_stored(keys, *cell, vectors, STORAGES[self.storage])
            for cell, vectors in cells.items()
        ]
        n_bytes = sum(len(row[-1]) + len(row[-2]) for row in stored)
        try:
            with transaction(db):
                space_id = space_id_of(db, space)
                block = insert_block(db, space_id, keys, stored)
                use = "UPDATE spaces SET bytes = bytes + ?, last_used = ? WHERE id = ?"
                db.execute(use, (n_bytes, time.time(), space_id))
                bump = "UPDATE counters SET value = value + ? WHERE name = ?"
                n_missed, self._n_uncounted = self._n_uncounted, 0
                counts = [(len(keys), "texts_encoded"), (n_missed, "misses")]
                db.executemany(bump, counts)
                n_freed = self._make_room(db, block)
        except sqlite3.Error as error:
            self._warn_once("write", f"The cache {self.path} can't be written", error)
            return 0
        if n_freed:
            warnings.warn(
                f"The cache {self.path} reached its size_limit of {self.size_limit:,} "
                f"bytes: the {n_freed:,} bytes used longest ago were removed. Raise "
                "EmbeddingCache(size_limit=...) to keep more.",
                UserWarning,
                stacklevel=2,
            )
        return n_bytes

    def _make_room(self, db, block):
        """Remove old blocks until the limit is kept; never the one just written."""
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM spaces").fetchone()
        if total <= self.size_limit:
            return 0
        freed = 0
        oldest = db.execute(
            "SELECT b.id FROM blocks b JOIN spaces s ON s.id = b.space_id"
            " WHERE b.id <> ? ORDER BY s.last_used, b.id",
            (block,),
        ).fetchall()
        for (block_id,) in oldest:
            if total - freed <= self.size_limit:
                break
            freed += remove_block(db, block_id)
        return freed

    def room(self):
        """Bytes that can still be stored within `size_limit`.

        Returns
        -------
        int
            0 when it is full; then the oldest blocks make room.
        """
        db = self._connection()
        if db is None:
            return self.size_limit
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM spaces").fetchone()
        return max(0, self.size_limit - total)

    def describe(self, space, note):
        """Attach facts to a space, for people who look at `info`.

        Parameters
        ----------
        space : str
            Fingerprint, as in `get_many`.
        note : dict
            What JSON can hold; merged into what is there.
        """
        db = self._connection(create=True)
        if db is None:
            return
        try:
            with transaction(db):
                space_id = space_id_of(db, space)
                query = "SELECT note FROM spaces WHERE id = ?"
                (old,) = db.execute(query, (space_id,)).fetchone()
                merged = json.dumps({**json.loads(old), **note}, sort_keys=True)
                update = "UPDATE spaces SET note = ? WHERE id = ?"
                db.execute(update, (merged, space_id))
        except sqlite3.Error as error:
            self._warn_once("write", f"The cache {self.path} can't be written", error)

    @property
    def adapters_path(self):
        """Where trained adapters lie, beside the vectors."""
        return self.path / ADAPTERS

    def encode_lock(self, space, device):
        """A context in which no other process encodes for this space and device.

        With ``takes_turns = False`` it is one that holds nobody up, for processes that
        have texts and a share of the host of their own.

        Parameters
        ----------
        space : str
            Fingerprint, as in `get_many`.
        device : str
            The torch device that encodes.

        Returns
        -------
        context manager
            Waits on entry until no other process encodes.
        """
        from filelock import FileLock

        if not self.takes_turns:
            return nullcontext()
        if self._connection(create=True) is None or self._read_only():
            return nullcontext()
        name = hashlib.sha256(f"{space}@{device}".encode()).hexdigest()[:16]
        return FileLock(self.path / f"encode-{name}.lock")

    def _read_only(self):
        return getattr(self._local, "read_only", False)

    # --- looking after it ------------------------------------------------------------

    def info(self):
        """What the cache holds.

        Returns
        -------
        dict
            ``path``, ``texts``, ``vectors``, ``bytes`` (of vectors), ``file_bytes``,
            ``adapter_bytes`` (of trained adapters), ``size_limit``; over its lifetime
            ``hits``, ``misses`` and ``texts_encoded`` (texts that went through a model);
            ``spaces``, a list of dicts with ``fingerprint``, ``texts``, ``vectors``,
            ``bytes``, ``cells`` as a list of (layer, pooling), ``created``,
            ``last_used`` and ``note``.
        """
        spaces, counters = [], dict.fromkeys(("hits", "misses", "texts_encoded"), 0)
        db = self._connection()
        if db is not None:
            counters = dict(db.execute("SELECT name, value FROM counters"))
            query = "SELECT * FROM spaces ORDER BY id"
            spaces = [space_info(db, *row) for row in db.execute(query).fetchall()]
        return {
            "path": str(self.path),
            **{
                name: sum(s[name] for s in spaces)
                for name in ("texts", "vectors", "bytes")
            },
            "file_bytes": 0 if db is None else self._file_bytes(),
            "adapter_bytes": sum(
                file.stat().st_size
                for file in self.adapters_path.rglob("*")
                if file.is_file()
            ),
            "size_limit": self.size_limit,
            **counters,
            "spaces": spaces,
        }

    def _file_bytes(self):
        return sum(file.stat().st_size for file in self.path.glob(f"{FILE}*"))

    def verify(self, sample=None, *, random_state=0):
        """Check stored rows against their checksums; nothing is changed.

        Parameters
        ----------
        sample : int or None, default=None
            How many (cell, block) pairs to check, drawn at random; None checks all.
        random_state : int, default=0
            Seed of the draw.

        Returns
        -------
        dict
            ``checked`` and ``damaged`` rows, and ``ok``: no damage, and SQLite's own
            ``quick_check`` passed. Damaged rows are made again when they are needed.
        """
        db = self._connection()
        if db is None:
            return {"checked": 0, "damaged": 0, "ok": True}
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

    def prune(self, *, max_bytes=None, older_than=None, space=None):
        """Remove vectors and shrink the file.

        Parameters
        ----------
        max_bytes : int or None, default=None
            Remove the blocks of the spaces used longest ago until no more bytes of
            vectors are left.
        older_than : timedelta or None, default=None
            Remove blocks written longer ago than this; without `space` also trained
            adapters, and what interrupted trainings left.
        space : str or None, default=None
            Only in this space; alone, the whole space goes. The first digits of its
            fingerprint will do.

        Returns
        -------
        int
            Bytes of vectors removed.
        """
        db = self._connection()
        if db is None:
            return 0
        chosen = self._blocks_to_prune(db, max_bytes, older_than, space)
        if older_than is not None and not space:
            self._prune_adapters(time.time() - older_than.total_seconds())
        with transaction(db):
            freed = sum(remove_block(db, block) for block in chosen)
            db.execute(
                "DELETE FROM spaces WHERE id NOT IN (SELECT space_id FROM blocks)"
            )
        self._shrink(db)
        return freed

    def _prune_adapters(self, before):
        for path in self.adapters_path.glob("*"):
            if path.stat().st_mtime < before:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _blocks_to_prune(self, db, max_bytes, older_than, space):
        if max_bytes is None and older_than is None and not space:
            raise ValueError(
                "EmbeddingCache.prune must be told what goes: max_bytes, older_than or "
                "space. Got none of them; clear() removes everything."
            )
        if older_than is not None and not isinstance(older_than, timedelta):
            raise TypeError(
                "The 'older_than' parameter of EmbeddingCache.prune must be a "
                f"datetime.timedelta or None. Got {older_than!r} instead."
            )
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
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM spaces").fetchone()
        chosen = []
        for block, _, n_bytes in blocks:
            if total <= max_bytes:
                break
            chosen.append(block)
            total -= n_bytes or 0
        return chosen

    def clear(self):
        """Remove all vectors and trained adapters; the lifetime counters stay."""
        shutil.rmtree(self.adapters_path, ignore_errors=True)
        db = self._connection()
        if db is not None:
            with transaction(db):
                for table in ("cells", "rows", "blocks", "spaces"):
                    db.execute(f"DELETE FROM {table}")
            self._shrink(db)

    def _shrink(self, db):
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def export(self, path):
        """Write a consistent copy as one file, which `import_` reads.

        Parameters
        ----------
        path : path-like
            Must not exist.

        Raises
        ------
        FileExistsError
            When it exists.
        OSError
            When the cache can't be opened.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"EmbeddingCache.export must not overwrite {path}.")
        db = self._connection(create=True)
        if db is None:
            raise OSError(f"The cache {self.path} can't be opened: nothing to export.")
        db.execute("VACUUM INTO ?", (str(path),))

    def import_(self, path):
        """Take over the vectors of a file that `export` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        int
            Rows taken over; what is here already isn't taken again.

        Raises
        ------
        FileNotFoundError
            When there is no such file.
        ValueError
            When it is no cache, or one of a newer format.
        OSError
            When the cache can't be written.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"EmbeddingCache.import_ found no file {path}.")
        db = self._connection(create=True)
        if db is None:
            raise OSError(f"The cache {self.path} can't be written.")
        with closing(sqlite3.connect(path)) as other:
            check_format(other, path)
            with transaction(db):
                return copy_blocks(other, db)

    # --- connections -----------------------------------------------------------------

    def _connection(self, create=False):
        """The connection of this thread; None when there is no database (to be had)."""
        local = self._local
        current = getattr(local, "connection", None)
        if current is not None and local.pid != os.getpid():
            # Made before a fork. SQLite forbids to close it here, so it is kept for good.
            _inherited.append(local.__dict__.pop("connection"))
        elif current is not None and local.file == identity(self.path / FILE):
            return current
        elif current is not None:  # somebody removed the folder: start anew
            self.close()
        self._check_settings()
        if not create and not os.path.isfile(self.path / FILE):
            if os.path.exists(self.path) and not os.path.isdir(self.path):
                raise ValueError(_not_a_folder(self.path))
            return None
        local.pid, local.read_only = os.getpid(), False
        local.connection = self._open(create)
        local.file = identity(self.path / FILE)
        return local.connection

    def _check_settings(self):
        if self.storage not in STORAGES:
            raise ValueError(
                "The 'storage' parameter of EmbeddingCache must be a str among "
                f"{set(STORAGES)}. Got {self.storage!r} instead."
            )
        number = isinstance(self.size_limit, numbers.Real)
        if not number or isinstance(self.size_limit, bool) or not self.size_limit > 0:
            raise ValueError(
                "The 'size_limit' parameter of EmbeddingCache must be a positive number "
                f"of bytes. Got {self.size_limit!r} instead."
            )

    def _open(self, create):
        file = self.path / FILE
        db = None
        try:
            if create:
                self.path.mkdir(parents=True, exist_ok=True)
            db = connect(file)
            check_format(db, file)
            prepare(db, self.path)
            return db
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(_not_a_folder(self.path)) from error
        except OSError as error:
            self._warn_once("write", f"The cache {self.path} can't be written", error)
            return None
        except sqlite3.OperationalError as error:
            if db is not None:
                db.close()
            return self._open_read_only(file, error)

    def _open_read_only(self, file, error):
        self._warn_once("write", f"The cache {self.path} can't be written", error)
        if not os.path.isfile(file):
            return None
        self._local.read_only = True
        try:
            # immutable: a WAL database in a folder where no file can be made.
            db = connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
            db.execute("SELECT count(*) FROM spaces").fetchone()
            return db
        except sqlite3.Error:
            return None

    def _warn_once(self, what, sentence, error):
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(
                f"{sentence} ({error}). Results are the same, but texts are encoded "
                "again each time; free the disk or choose another 'cache'.",
                UserWarning,
                stacklevel=4,
            )


_inherited = []
_living = weakref.WeakValueDictionary()


def _close_before_fork():
    # A child that inherits an open file believes it holds its locks, and the parent's
    # close would remove the log under it. Other threads' connections can't be reached.
    for cache in list(_living.values()):
        connection = getattr(cache._local, "connection", None)
        if connection is not None and not connection.in_transaction:
            cache.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_close_before_fork)


def _not_a_folder(path):
    return (
        f"The path of an EmbeddingCache must be a folder (directory). Got {str(path)!r}, "
        "which is or lies in a file: choose another path."
    )
