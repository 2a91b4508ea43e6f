"""``EmbeddingCache``: vectors on disk, shared by processes and sessions.

One SQLite file in WAL mode. A block is what one put brought: the rows' keys, and for
each cell (layer, pooling) all its vectors as raw little-endian floats with a checksum a
row. So 35 cells of 500 texts are 35 values and not 17,500. Texts are never stored, only
16-byte keys. This file doesn't know models: a space is a name, a cell two values.
"""

import hashlib
import json
import numbers
import os
import platform
import re
import shutil
import sqlite3
import threading
import time
import warnings
import weakref
import zlib
from contextlib import closing, contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

__all__ = ["EmbeddingCache", "default_directory"]

FORMAT = 1
FILE = "embeddings.sqlite3"
ADAPTERS = "adapters"
KEYS_AT_A_TIME = 20_000
BUSY_SECONDS = 60
HOSTS = "hosts"
# File systems that several hosts can mount at once; FUSE may be any of them. SQLite's
# write-ahead log is shared memory, so two hosts that open one file destroy it.
NETWORKED = (
    "9p afs beegfs ceph cifs coda fuse gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 "
    "orangefs panfs pvfs2 smb3 smbfs virtiofs wekafs"
).split()
STORAGES = {"float32": "<f4", "float16": "<f2"}

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


def default_directory():
    """``$SKLEARN_LLM2VEC_CACHE``, else the platform's folder for caches."""
    if place := os.environ.get("SKLEARN_LLM2VEC_CACHE"):
        return Path(place).expanduser()
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "sklearn-llm2vec" / "Cache"
    if os.uname().sysname == "Darwin":
        return Path.home() / "Library" / "Caches" / "sklearn-llm2vec"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sklearn-llm2vec"


def host_folder(place):
    """The folder in which this host keeps what belongs to the cache at `place`.

    `place` itself, but where other hosts may have the same one, a folder in it that is
    named by the host: no host opens the database of another.
    """
    return place / HOSTS / host_name() if _is_networked(place) else place


def host_name():
    """What tells this host from others: its name, and the id of its installation."""
    name = platform.node() or "nameless"
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:  # not Linux, or a container
        machine = ""
    # Nodes of a cluster that were made from one image may share either.
    digest = hashlib.sha256(f"{name} {machine}".encode()).hexdigest()[:8]
    return "".join(c if c.isalnum() else "-" for c in name)[:40] + f"-{digest}"


def _is_networked(place):
    """Whether other hosts may see the files at `place`; False where nobody says."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:  # not Linux
        return False
    return _file_system(os.path.realpath(place), mounts).split(".")[0] in NETWORKED


def _file_system(path, mounts):
    """Type of the file system of an absolute path, by a table like /proc/mounts."""
    deepest, kind = "", ""
    for line in mounts.splitlines():
        _, point, its_kind = line.split(" ")[:3]
        # Spaces and the like are written as octal numbers.
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), point).rstrip("/")
        inside = f"{path}/".startswith(f"{point}/")
        # Of two mounts at one place the later covers the earlier.
        if inside and len(point) >= len(deepest):
            deepest, kind = point, its_kind
    return kind


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
                    with _wanted(db, keys[part]):
                        places = self._places(db, space, layer, pooling)
                        n_damaged += _read_places(
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
        if count and db is not None:
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
                with _wanted(db, part):
                    found = db.execute(query, (space,)).fetchall()
            except sqlite3.DatabaseError as error:
                self._warn_once("read", f"The cache {self.path} can't be read", error)
                continue
            there[[start + position for (position,) in found]] = True
        return there

    def _places(self, db, space, layer, pooling):
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

    def _count(self, db, space, hits, misses):
        try:
            with _transaction(db):
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
        stored = [self._stored(keys, *cell, vectors) for cell, vectors in cells.items()]
        n_bytes = sum(len(row[-1]) + len(row[-2]) for row in stored)
        try:
            with _transaction(db):
                space_id = _space_id(db, space)
                block = _insert_block(db, space_id, keys, stored)
                use = "UPDATE spaces SET bytes = bytes + ?, last_used = ? WHERE id = ?"
                db.execute(use, (n_bytes, time.time(), space_id))
                bump = "UPDATE counters SET value = value + ? WHERE name = ?"
                db.execute(bump, (len(keys), "texts_encoded"))
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

    def _stored(self, keys, layer, pooling, vectors):
        vectors = np.ascontiguousarray(vectors, dtype="<f4")
        if len(vectors) != len(keys):
            raise ValueError(
                f"EmbeddingCache.put_many must get one vector for each of {len(keys)} "
                f"keys. Got {len(vectors)} for layer {layer}, {pooling!r}."
            )
        layer = int(layer)
        dtype = STORAGES[self.storage]
        if dtype != "<f4":
            with np.errstate(over="ignore"):
                half = vectors.astype(dtype)
            if (np.isinf(half) == np.isinf(vectors)).all():
                vectors = half
            else:
                dtype = "<f4"
        checksums = _checksums(vectors, keys, layer, pooling).tobytes()
        return layer, pooling, dtype, vectors.shape[1], checksums, vectors.tobytes()

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
            freed += _remove_block(db, block_id)
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
            with _transaction(db):
                space_id = _space_id(db, space)
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
            spaces = [_space_info(db, *row) for row in db.execute(query).fetchall()]
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
            n_rows, n_good = _verify_cell(db, cell_id)
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
            Remove the blocks of the spaces used longest ago until no more is left.
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
        with _transaction(db):
            freed = sum(_remove_block(db, block) for block in chosen)
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
            with _transaction(db):
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
            _check_format(other, path)
            with _transaction(db):
                return _copy_blocks(other, db)

    # --- connections -----------------------------------------------------------------

    def _connection(self, create=False):
        """The connection of this thread; None when there is no database (to be had)."""
        local = self._local
        current = getattr(local, "connection", None)
        if current is not None and local.pid != os.getpid():
            # Made before a fork. SQLite forbids to close it here, so it is kept for good.
            _inherited.append(local.__dict__.pop("connection"))
        elif current is not None and local.file == _identity(self.path / FILE):
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
        local.file = _identity(self.path / FILE)
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
            db = _connect(file)
            _check_format(db, file)
            self._prepare(db)
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

    def _prepare(self, db):
        mode = _write_ahead(db)
        if mode != "wal":
            warnings.warn(
                f"The file system of the cache {self.path} can't do SQLite's "
                "write-ahead log (network file systems can't); the slower rollback "
                "journal is used.",
                UserWarning,
                stacklevel=2,
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
        with _transaction(db):
            if db.execute("PRAGMA user_version").fetchone() == (0,):
                for statement in SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {FORMAT}")

    def _open_read_only(self, file, error):
        self._warn_once("write", f"The cache {self.path} can't be written", error)
        if not os.path.isfile(file):
            return None
        self._local.read_only = True
        try:
            # immutable: a WAL database in a folder where no file can be made.
            db = _connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
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


# --- SQLite --------------------------------------------------------------------------


def _connect(place, **kwargs):
    # No implicit transactions: they are opened by _transaction, and nowhere else.
    return sqlite3.connect(place, timeout=BUSY_SECONDS, isolation_level=None, **kwargs)


@contextmanager
def _transaction(db):
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


def _check_format(db, file):
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
            f"The file {file} must be the database of an EmbeddingCache. It holds "
            "something else; nothing was changed. Move it away, or choose another path."
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


def _identity(file):
    """Device and inode of a file; None when it isn't there."""
    try:
        state = os.stat(file)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _not_a_folder(path):
    return (
        f"The path of an EmbeddingCache must be a folder (directory). Got {str(path)!r}, "
        "which is or lies in a file: choose another path."
    )


@contextmanager
def _wanted(db, keys):
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


def _space_id(db, fingerprint):
    now = time.time()
    db.execute(
        "INSERT INTO spaces (fingerprint, note, bytes, created, last_used)"
        " VALUES (?, '{}', 0, ?, ?) ON CONFLICT DO NOTHING",
        (fingerprint, now, now),
    )
    query = "SELECT id FROM spaces WHERE fingerprint = ?"
    return db.execute(query, (fingerprint,)).fetchone()[0]


def _insert_block(db, space_id, keys, stored):
    digest = hashlib.sha256(b"".join(keys) + repr([c[:4] for c in stored]).encode())
    block = db.execute(
        "INSERT INTO blocks (space_id, n_rows, digest, created) VALUES (?, ?, ?, ?)",
        (space_id, len(keys), digest.digest(), time.time()),
    ).lastrowid
    rows = ((space_id, key, block, row) for row, key in enumerate(keys))
    db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
    db.executemany(
        "INSERT INTO cells (block_id, layer, pooling, dtype, dim, checksums, data)"
        f" VALUES ({block}, ?, ?, ?, ?, ?, ?)",
        stored,
    )
    return block


def _remove_block(db, block):
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


def _copy_blocks(other, db):
    """Copy the blocks of another database that aren't here; return their rows."""
    n_copied = 0
    spaces = other.execute("SELECT id, fingerprint, note FROM spaces").fetchall()
    for their_id, fingerprint, note in spaces:
        space_id = _space_id(db, fingerprint)
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
            _insert_block(db, space_id, keys, cells)
            n_bytes = sum(len(cell[-1]) + len(cell[-2]) for cell in cells)
            query = "UPDATE spaces SET bytes = bytes + ? WHERE id = ?"
            db.execute(query, (n_bytes, space_id))
            n_copied += len(keys)
    return n_copied


def _space_info(db, space_id, fingerprint, note, n_bytes, created, last_used):
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
        "note": json.loads(note),
    }


def _when(seconds):
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return moment.isoformat(timespec="seconds")


# --- rows ----------------------------------------------------------------------------


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


def _verify_cell(db, cell_id):
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
        return n_rows, int(good.sum())
    except (sqlite3.DatabaseError, ValueError, TypeError):
        return 1, 0


def _cell_arrays(dtype, dim, checksums, data):
    vectors = np.frombuffer(data, dtype).reshape(-1, dim)
    return vectors, np.frombuffer(checksums, "<u4")


def _read_places(db, places, keys, layer, pooling, out, found):
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
        except (sqlite3.DatabaseError, ValueError, TypeError, IndexError):
            n_damaged += len(part)
            continue
        if vectors.shape[1] != out.shape[1]:
            n_damaged += len(part)
            continue
        n_damaged += int(len(good) - good.sum())
        out[positions[good]] = chosen[good]
        found[positions[good]] = True
    return n_damaged
