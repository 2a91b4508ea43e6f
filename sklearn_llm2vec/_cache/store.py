"""``EmbeddingCache``: vectors on disk, shared by processes and sessions.

One SQLite file in WAL mode (``database``, ``connections``) holds blocks of vectors
(``blocks``) and is looked after (``upkeep``). Texts are never stored, only 16-byte keys.
A space is a name, a cell two values. After a fault, vectors may not be stored, but the
results are the same.
"""

import hashlib
import re
import shutil
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import numpy as np

from sklearn_llm2vec._cache import upkeep
from sklearn_llm2vec._cache.blocks import (
    DAMAGE,
    Unsound,
    as_stored,
    copy_blocks,
    find_keys,
    find_places,
    insert_block,
    merge_note,
    read_places,
    space_id_of,
    wanted,
)
from sklearn_llm2vec._cache.connections import FILE, Connections
from sklearn_llm2vec._cache.counting import Uncounted, write_counts
from sklearn_llm2vec._cache.database import (
    DAMAGED_FILE,
    MOST_QUOTED,
    OtherFormat,
    Unreadable,
    check_format,
    check_unchanged,
    connect,
    transaction,
    transaction_at_once,
)
from sklearn_llm2vec._cache.turns import Turn
from sklearn_llm2vec._common.checks import among, is_number, refused, warn
from sklearn_llm2vec._common.people import printable
from sklearn_llm2vec._common.places import default_directory, host_folder
from sklearn_llm2vec._common.public import public_in
from sklearn_llm2vec._common.whole_files import whole_file

ADAPTERS = "adapters"
# What a training leaves there: folders, locks and checkpoints, named by a SHA-256.
MADE_BY_TRAINING = re.compile(r"(\.new-)?[0-9a-f]{64}(-\d+|\.lock|\.unfinished)?")
KEYS_AT_A_TIME = 20_000
STORAGES = {"float32": "<f4", "float16": "<f2"}


@public_in("sklearn_llm2vec")
class EmbeddingCache:
    """Persistent store of text vectors that threads and processes of one host can share.

    Parameters
    ----------
    path : path-like or None, default=None
        A folder, which is created when the first vector is stored. None is
        ``$SKLEARN_LLM2VEC_CACHE``, or the platform's folder for caches if that isn't set.
    size_limit : int, default=20_000_000_000
        Largest number of bytes of vectors. If it is exceeded, the vectors of the least
        recently used spaces are removed, with a warning.
    storage : {"float32", "float16"}, default="float32"
        How new vectors are stored. A block that would overflow float16 is stored as
        float32.

    Attributes
    ----------
    path : Path
        The folder that this host uses: the given one or, on a network file system, the
        folder ``hosts/{name of the host}`` in it.

    Notes
    -----
    A *space* contains the vectors of one model with one combination of settings, and a
    *cell* is a combination of layer and pooling in a space.

    No file is opened and no setting is checked before the first use. A pickled cache
    consists of its path and settings, and on another host it uses a database of that
    host. A damaged row is treated as missing and computed again, with a warning. If the
    disk is full or read-only, vectors aren't stored, and a single warning says so. The
    results are the same.

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
        self._connections = Connections(self.path)
        self._uncounted = Uncounted()
        self.takes_turns = True

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
        """Close the connections that no thread is using; the next use opens another."""
        self._connections.close()

    # --- reading ---------------------------------------------------------------------

    def get_many(self, space, keys, layer, pooling, out, *, count=True):
        """Read the vectors of one cell.

        Parameters
        ----------
        space : str
            Fingerprint of the model and all settings except layer and pooling.
        keys : sequence of bytes, shape (n_keys,)
            16 bytes each.
        layer : int
            Hidden state, counted from 0.
        pooling : str
            Name of the pooling.
        out : float32 ndarray of shape (n_keys, dim)
            The rows of keys that were found are filled. Other rows aren't changed.
        count : bool, default=True
            Whether to update the lifetime counters ``hits`` and ``misses``. If another
            process is writing, they are updated by a later call.

        Returns
        -------
        found : bool ndarray of shape (n_keys,)

        Raises
        ------
        ValueError
            If the path can't be a cache, because it is a file or because the database
            belongs to another program or has a newer format, or if a setting is out of
            range.
        """
        found, damaged = np.zeros((2, len(keys)), bool)
        layer = int(layer)
        with self._trying() as db:
            if db is None:
                if count:
                    self._uncounted.add(0, len(keys))
                return found
            for start in range(0, len(keys), KEYS_AT_A_TIME):
                part = slice(start, start + KEYS_AT_A_TIME)
                try:
                    with wanted(db, keys[part]):
                        places = find_places(db, space, layer, pooling)
                        positions = read_places(
                            db,
                            places,
                            keys[part],
                            space,
                            layer,
                            pooling,
                            out[part],
                            found[part],
                        )
                    damaged[part][positions] = True
                except DAMAGE as error:
                    self._warn("read", db, error)
            if count:
                n_found = int(found.sum())
                self._uncounted.look_up(space, n_found, len(keys) - n_found)
                self._count(db)
            n_damaged = int((damaged & ~found).sum())
            if n_damaged and self._connections.was_replaced(db):
                n_damaged = 0
        if n_damaged:
            warn(
                f"{n_damaged} damaged rows in the cache {self.path} were not used, "
                "and their texts are encoded again. EmbeddingCache.verify() counts "
                "damaged rows."
            )
        return found

    def has_any(self, space, keys):
        """Find the keys that have a vector in any cell.

        Parameters
        ----------
        space : str
            Fingerprint, as in `get_many`.
        keys : sequence of bytes, shape (n_keys,)
            16 bytes each.

        Returns
        -------
        bool ndarray of shape (n_keys,)

        Raises
        ------
        ValueError
            As `get_many`.
        """
        there = np.zeros(len(keys), bool)
        with self._trying() as db:
            for start in range(0, len(keys) if db is not None else 0, KEYS_AT_A_TIME):
                part = keys[start : start + KEYS_AT_A_TIME]
                try:
                    with wanted(db, part):
                        found = find_keys(db, space)
                    there[[start + position for position in found]] = True
                except DAMAGE as error:
                    self._warn("read", db, error)
        return there

    def _count(self, db):
        # Busy: it is counted later. Read-only: then nobody counts.
        with suppress(sqlite3.Error), self._uncounted.taken() as counts:
            if any(counts):
                with transaction_at_once(db):
                    write_counts(db, counts)

    def _warn(self, done, db, error):
        if not self._connections.was_replaced(db):
            self._connections.warn_once(done, error)

    # --- writing ---------------------------------------------------------------------

    def put_many(self, space, keys, cells):
        """Store a block of vectors, either entirely or not at all.

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
            Number of bytes stored; 0 if the disk is full or read-only.

        Raises
        ------
        ValueError
            As `get_many`, and if there isn't one vector for each key.
        """
        self._check_settings()
        stored = [
            as_stored(space, keys, *cell, vectors, STORAGES[self.storage])
            for cell, vectors in cells.items()
        ]
        n_bytes = sum(len(row[-1]) + len(row[-2]) for row in stored)
        if not len(keys):
            return 0
        n_freed = self._try(
            "written", lambda db: db and self._put(db, space, keys, stored), create=True
        )
        if n_freed is None:
            return 0
        if n_freed:
            warn(
                f"The cache {self.path} reached its size_limit of {self.size_limit:,} "
                f"bytes: the {n_freed:,} least recently used bytes were removed. "
                "Increase EmbeddingCache(size_limit=...) to keep more."
            )
        return n_bytes

    def _put(self, db, space, keys, stored):
        """Store a block; return the number of bytes that had to go for it."""
        with self._uncounted.taken() as counts, transaction(db):
            block = insert_block(db, space_id_of(db, space), keys, stored)
            counts.last_used[space] = time.time()
            write_counts(db, counts, texts_encoded=len(keys))
            return upkeep.make_room(db, self.size_limit, block)

    def _try(self, done, work, create=False):
        """Return what `work` returns for the database, or None after a warning."""

        def work_or_warn(db):
            try:
                return work(db)
            except DAMAGE as error:
                self._warn(done, db, error)

        self._check_settings()
        trying = self._connections.trying
        return self._connections.until_it_stays(trying, work_or_warn, create)

    def room(self):
        """Number of bytes that can still be stored within `size_limit`.

        Returns
        -------
        int
            0 if the cache is full. The oldest blocks are then removed as needed.
        """

        def left(db):
            used = upkeep.n_bytes(db) if db is not None else 0
            return max(0, int(self.size_limit - used))

        return self._try("read", left) or 0

    def describe(self, space, note):
        """Attach a note to a space, which `info` shows.

        Parameters
        ----------
        space : str
            Fingerprint, as in `get_many`.
        note : dict
            Values that JSON can represent; merged into the existing note.
        """

        def merge(db):
            if db is not None:
                with transaction(db):
                    merge_note(db, space_id_of(db, space), note)

        self._try("written", merge, create=True)

    @property
    def adapters_path(self):
        """Folder of the trained adapters, beside the vectors."""
        return self.path / ADAPTERS

    def encode_lock(self, space, device):
        """Return a context in which no other process encodes for this space and device.

        If the process that is waited for gives no sign of life, the waiting process
        warns after 5 seconds and continues without it after 120 seconds. With
        ``takes_turns = False``, it doesn't wait. This is for processes that have
        their own texts and their own share of the host.

        Parameters
        ----------
        space : str
            Fingerprint, as in `get_many`.
        device : str
            The torch device that encodes.

        Returns
        -------
        Turn
            A context manager. Its ``progress()`` tells waiting processes that the work
            continues.
        """
        name = hashlib.sha256(f"{space}@{device}".encode()).hexdigest()[:16]
        path = self.path / f"encode-{name}.lock" if self.takes_turns else None
        return Turn(path, self._connections.warn_of_lock)

    # --- looking after it ------------------------------------------------------------

    def info(self):
        """Describe the contents of the cache.

        Returns
        -------
        dict
            ``path``, ``texts``, ``vectors``, ``bytes`` (of vectors), ``file_bytes``,
            ``adapter_bytes`` (of trained adapters) and ``size_limit``; the lifetime
            counters ``hits``, ``misses`` and ``texts_encoded`` (a text that is encoded
            twice is counted twice); and ``spaces``, a list of dicts with ``fingerprint``,
            ``texts``, ``vectors``, ``bytes``, ``cells`` as a list of (layer, pooling),
            ``created``, ``last_used`` and ``note``.
        """
        spaces, sizes, counters = self._explained(self._contents)
        return {
            "path": str(self.path),
            **sizes,
            "file_bytes": _total_size(self.path.glob(f"{FILE}*")),
            "adapter_bytes": _total_size(self.adapters_path.rglob("*")),
            "size_limit": self.size_limit,
            **counters,
            "spaces": spaces,
        }

    def _contents(self, db):
        spaces, counters = [], dict.fromkeys(("hits", "misses", "texts_encoded"), 0)
        if db is not None:
            self._count(db)  # what had to wait
            spaces, counters = upkeep.spaces(db), upkeep.counters(db)
        # Here, damage is explained as well: a size may be no number.
        sizes = {
            name: sum(space[name] for space in spaces)
            for name in ("texts", "vectors", "bytes")
        }
        return spaces, sizes, counters

    def verify(self, sample=None, *, random_state=0):
        """Compare stored rows with their checksums, and indexes with their tables.

        Nothing is changed.

        Parameters
        ----------
        sample : int or None, default=None
            Number of (cell, block) pairs to check, drawn at random. None checks all.
        random_state : int, default=0
            Seed of the draw.

        Returns
        -------
        dict
            The numbers of ``checked`` and ``damaged`` rows, and ``ok``, which is True if
            there is no damage and SQLite's own ``integrity_check`` passed. Damaged rows
            are computed again when they are needed.

        Raises
        ------
        ValueError
            If the file can't be read as a cache at all.
        OSError
            If it can't be opened now.
        """

        def verify(db):
            if db is None:
                return {"checked": 0, "damaged": 0, "ok": True}
            return upkeep.verify(db, sample, random_state)

        return self._explained(verify)

    def prune(self, *, max_bytes=None, older_than=None, space=None):
        """Remove vectors and shrink the file.

        On a full disk, the remaining vectors are written to a new file if they take at
        most 1 GiB.

        Parameters
        ----------
        max_bytes : int or None, default=None
            Remove blocks of the least recently used spaces until at most this many bytes
            of vectors are left.
        older_than : timedelta or None, default=None
            Remove blocks that were written longer ago than this and, without `space`,
            also trained adapters and checkpoints of interrupted trainings.
        space : str or None, default=None
            Remove vectors of this space only. Without another parameter, the whole space
            is removed. The first digits of the fingerprint are enough.

        Returns
        -------
        int
            Number of bytes of vectors that were removed.

        Raises
        ------
        ValueError
            If no parameter is given, or if the database is damaged.
        TypeError
            If `older_than` isn't a timedelta.
        OSError
            If the cache can't be written.
        """
        _check_what_goes(max_bytes, older_than, space)

        def prune(db):
            # Nothing goes before the database is open: the folder may be another
            # program's.
            if older_than is not None and not space:
                self._remove_adapters(time.time() - older_than.total_seconds())
            if db is None:
                return 0, None
            chosen = upkeep.blocks_to_prune(db, max_bytes, older_than, space)
            try:
                upkeep.remove(db, chosen)
            except sqlite3.OperationalError as error:
                if not upkeep.is_full(error) or self._connections.was_replaced(db):
                    raise
                return sum(chosen.values()), upkeep.copy_without(db, chosen)
            return sum(chosen.values()), None

        n_bytes, kept = self._explained(prune)
        if kept is not None:
            with closing(kept):
                self._replace(lambda db: upkeep.restore(kept, db))
        return n_bytes

    def _remove_adapters(self, before=None):
        """Remove what trainings made, or what they made before this time."""
        for path in self.adapters_path.glob("*"):
            if not MADE_BY_TRAINING.fullmatch(path.name):
                continue
            with suppress(OSError):  # another process may be faster
                if before is not None and path.stat().st_mtime >= before:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def clear(self):
        """Remove all vectors and trained adapters, but keep the lifetime counters.

        The file is replaced by a new one, so this also works on a full disk and if the
        database is damaged.

        Raises
        ------
        ValueError
            If the file belongs to another program or has a newer format.
        OSError
            If it can't be removed.
        """
        counters, using = {}, self._connections.using
        try:
            counters = self._connections.until_it_stays(using, _counters)
        except OtherFormat as error:
            raise ValueError(
                f"The cache {self.path} wasn't cleared: {error}."
            ) from None
        except (Unreadable, UnicodeDecodeError):
            pass
        except ValueError:
            raise  # somebody else's
        except DAMAGE:
            pass
        self._remove_adapters()
        self._replace(lambda db: upkeep.set_counters(db, counters))

    def _replace(self, fill):
        """Put a new database in place of the present one, if there is one."""
        if not (self.path / FILE).is_file():
            return
        try:
            self._connections.start_anew(fill)
        except OSError as error:
            raise OSError(
                f"The cache {self.path} can't be removed ({error}). Remove the folder, "
                "or choose another path."
            ) from error

    def export(self, path):
        """Write a consistent copy of all vectors to a file that `import_` can read.

        Parameters
        ----------
        path : path-like
            The file, which must not exist yet.

        Raises
        ------
        FileExistsError
            If the file exists.
        ValueError
            If the cache is damaged.
        OSError
            If the cache can't be read, or if the file can't be written.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"EmbeddingCache.export must not overwrite {path}.")

        def export(db):
            if db is None:
                raise OSError(
                    f"The cache {self.path} can't be opened, so there is nothing to "
                    "export."
                )
            with whole_file(path) as file:
                db.execute("VACUUM INTO ?", (file.name,))

        self._explained(export, create=True)

    def import_(self, path):
        """Add the vectors of a file that `export` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        int
            Number of rows that were added. Rows that the cache already has aren't added.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it isn't a cache, is damaged, or has a newer format.
        OSError
            If the cache can't be written.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"EmbeddingCache.import_ found no file {path}.")

        def add(db):
            if db is None:
                raise OSError(f"The cache {self.path} can't be written.")
            with _opened(path) as other, transaction(db):
                return copy_blocks(other, db)

        return self._explained(add, create=True)

    def _trying(self):
        self._check_settings()
        return self._connections.trying()

    def _explained(self, work, create=False):
        self._check_settings()
        return self._connections.explained(work, create)

    def _check_settings(self):
        if self.storage not in STORAGES:
            expected = f"a str {among(STORAGES)}"
            raise refused("storage", expected, self.storage, of="EmbeddingCache")
        if not is_number(self.size_limit) or not self.size_limit > 0:
            expected = "a positive number of bytes"
            raise refused("size_limit", expected, self.size_limit, of="EmbeddingCache")


def _counters(db):
    if db is None:
        return {}
    check_unchanged(db)
    return upkeep.counters(db)


@contextmanager
def _opened(path):
    """The database of an exported file, which is sound."""
    with closing(connect(path)) as other:
        try:
            _check_export(other, path)
            yield other
        except Unsound as error:
            raise ValueError(
                f"The file {path} must be what EmbeddingCache.export wrote. It is "
                f"damaged ({printable(error, MOST_QUOTED)}): export it again."
            ) from error


def _check_export(other, path):
    try:
        check_format(other, path)
        (found,) = other.execute("PRAGMA quick_check(1)").fetchone()
    except Unreadable as error:
        raise Unsound(error.reason) from error
    except DAMAGED_FILE as error:
        passing = isinstance(error, sqlite3.OperationalError)
        if not passing or "malformed" in str(error):
            raise Unsound(error) from error
        raise OSError(
            f"The file {path} can't be read now ({error}). End the programs that use it, "
            "and try again."
        ) from error
    if found != "ok":
        raise Unsound(found)


def _total_size(paths):
    total = 0
    with suppress(OSError):
        for path in paths:
            with suppress(OSError):  # another process may remove it meanwhile
                if path.is_file():
                    total += path.stat().st_size
    return total


def _check_what_goes(max_bytes, older_than, space):
    if max_bytes is None and older_than is None and not space:
        raise ValueError(
            "EmbeddingCache.prune needs at least one of max_bytes, older_than and "
            "space. Got none of them. To remove everything, use clear()."
        )
    if older_than is not None and not isinstance(older_than, timedelta):
        expected, of = "a datetime.timedelta or None", "EmbeddingCache.prune"
        raise refused("older_than", expected, older_than, of=of, error=TypeError)
