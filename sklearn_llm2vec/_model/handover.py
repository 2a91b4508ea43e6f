"""Workers of one host share the model that one of them has loaded.

Under ``n_jobs=4`` four processes miss texts at nearly the same time. The first to encode
offers its model to the others on a local socket; they send their texts and read the
vectors from the cache, instead of loading the model once more each::

    hand_over(), the process that asks             offer(), the process with the model
    ----------------------------------             -----------------------------------
    reads model-....json: address, key        <--  wrote it, for the same user only
    connects; each shows that it has the key
    {"texts", "layers", "poolings"}           -->
                                              <--  {"done": 0} at once
    progress(n)                               <--  {"done": n} for each block and second
    returns n                                 <--  {"finished": n}
    returns None: it does the work itself     <--  {"error": ...}, silence, a lost line

Texts pass through; none is stored.
"""

import atexit
import hashlib
import json
import multiprocessing
import os
import secrets
import socket
import stat
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

from sklearn_llm2vec._common import waits
from sklearn_llm2vec._common.checks import warn
from sklearn_llm2vec._common.damaged_json import DAMAGED_JSON
from sklearn_llm2vec._common.forks import renewed_by_fork
from sklearn_llm2vec._common.shared_folders import who_else_may_write

# Between two processes of one host each step of a handshake takes milliseconds.
HANDSHAKE_SECONDS = 10
# An offering process reports each second. If it is silent for this time, it was stopped
# or hangs, and this process does the work itself.
SILENCE_SECONDS = waits.SILENCE_SECONDS
# Largest size of an offer, which consists of an address and a key.
MOST_BYTES = 10_000

_offered: set[Path] = set()
# Offers, as `_state` identifies them, that have failed; some can't be removed.
_vain: set[tuple] = set()
_sockets: set = set()  # of the offers of this process and of those that took them
_lock = renewed_by_fork(threading.Lock())


def is_worker():
    """Whether this is a child process, such as joblib starts: one of several alike."""
    return multiprocessing.current_process().name != "MainProcess"


def _address_file(directory, name):
    # Each user has offers of their own, as only they can read them.
    user = os.getuid() if hasattr(os, "getuid") else ""
    digest = hashlib.sha256(f"{name} {user}".encode()).hexdigest()[:16]
    return Path(directory) / f"model-{digest}.json"


def _state(path):
    """What tells an offer from a later one with its name; None if there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return path, state.st_ino, state.st_mtime_ns


def is_offered(directory, name):
    """Whether another process seems to offer the model `name`."""
    path = _address_file(directory, name)
    return path not in _offered and _state(path) not in (None, *_vain)


def offer(directory, name, encode):
    """Let other processes have texts encoded here, from now until this process ends.

    Parameters
    ----------
    directory : path-like
        Place of the cache, where the others look.
    name : str
        Space and device.
    encode : callable
        Called as ``encode(texts, layers, poolings)``, possibly from several threads;
        yields the number of texts that went through the model, block by block.
    """
    from multiprocessing.connection import Listener

    path = _address_file(directory, name)
    with _lock:
        if path in _offered or not _is_trusted(directory):
            return
        key = secrets.token_bytes(32)
        try:
            # Each client is asked for the key in its own thread, because one that sends
            # nothing would keep all others waiting.
            listener = Listener(backlog=64)
        except OSError:
            return  # no socket, no file: the others load the model themselves
        place = {"address": listener.address, "key": key.hex(), "pid": os.getpid()}
        try:
            _write_private(path, place)
        except OSError:
            listener.close()
            return
        _offered.add(path)
        _sockets.add(getattr(listener._listener, "_socket", listener))
    atexit.register(_take_back, path, os.getpid())
    arguments = listener, key, encode
    threading.Thread(target=_accept, args=arguments, daemon=True).start()


def _write_private(path, content):
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as f:
            json.dump(content, f)
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def _take_back(path, pid):
    if os.getpid() == pid:  # a forked child made no offer
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _read_own(path):
    """The offer in a file, which only a process of this user can have written.

    Texts are sent to the address in it, so whoever could put a file here would get them.

    Raises
    ------
    PermissionError
        When it is a link or a pipe, belongs to another user, or others may write to it.
    """
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
        state = os.fstat(file.fileno())
        foreign = hasattr(os, "getuid") and (
            state.st_uid != os.getuid() or state.st_mode & 0o022
        )
        if foreign or not stat.S_ISREG(state.st_mode):
            raise PermissionError(f"{path} isn't this user's own file")
        return file.read(MOST_BYTES)


def _is_trusted(directory):
    """Whether only this user, and those who share the folder, may replace an offer."""
    others = who_else_may_write(directory)
    if others is None:
        return True
    warn(
        f"The cache's folder {str(directory)!r} {others}, so workers don't share a model "
        "through it, and each loads the model itself. Choose a folder of your own. To "
        "share one, give it to a group whose members trust each other (chmod 2770)."
    )
    return False


def _accept(listener, key, encode):
    while True:
        try:
            connection = listener.accept()
        except OSError:
            time.sleep(0.1)  # too many open files, or a client that broke off
            continue
        arguments = connection, key, encode
        threading.Thread(target=_serve, args=arguments, daemon=True).start()


def _serve(connection, key, encode):
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import answer_challenge, deliver_challenge

    one_at_a_time, n_encoded = threading.Lock(), 0

    def say(**message):
        with one_at_a_time:
            connection.send_bytes(json.dumps(message).encode())

    def give_sign():
        with suppress(OSError):
            say(done=n_encoded)

    _sockets.add(connection)
    try:
        with connection:
            _limit_waits(connection, HANDSHAKE_SECONDS)
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            request = json.loads(connection.recv_bytes())
            _limit_waits(connection, SILENCE_SECONDS)
            say(done=0)
            with waits.Signs(give_sign) as signs:
                try:
                    for n in encode(**request):
                        n_encoded += n
                        signs.progress()
                        say(done=n_encoded)
                except Exception as error:  # told to the client, who meets it itself
                    last = {"error": repr(error)}
                else:
                    last = {"finished": n_encoded}
            say(**last)
    except (OSError, EOFError, AuthenticationError, *DAMAGED_JSON):
        pass  # the client is gone; what was encoded is in the cache
    finally:
        _sockets.discard(connection)


def hand_over(directory, name, *, texts, layers, poolings, progress=None):
    """Have texts encoded by the process that offers the model `name`.

    Parameters
    ----------
    directory, name
        As in `offer`.
    texts : list of str
    layers : list of int
    poolings : list of str
    progress : callable or None
        Called with the number of texts done so far.

    Returns
    -------
    int or None
        How many texts went through the model there; their vectors are in the cache. None
        when no process took the work: then it must be done here.
    """
    from multiprocessing import AuthenticationError

    path = _address_file(directory, name)
    if not is_offered(directory, name) or not _is_trusted(directory):
        return None
    state, pid = _state(path), None
    try:
        place = json.loads(_read_own(path))
        pid = int(place["pid"])
        with _connect(place["address"], bytes.fromhex(place["key"])) as connection:
            request = {"texts": texts, "layers": layers, "poolings": poolings}
            connection.send_bytes(json.dumps(request).encode())
            for message in _messages(connection, pid):
                if "finished" in message:
                    return message["finished"]
                if "error" in message:
                    return None
                if progress is not None:
                    progress(message["done"])
    except BlockingIOError:
        # It was stopped or hangs. It may continue later, so its offer stays.
        waits.warn_of_end(pid, HANDSHAKE_SECONDS)
    except (OSError, EOFError, AuthenticationError, *DAMAGED_JSON):
        # The process that offered it was killed before it could take its offer back.
        with suppress(OSError):
            path.unlink(missing_ok=True)
    _vain.add(state)
    return None


def _connect(address, key):
    """A connection to the process that offers its model; both prove to have the key."""
    from multiprocessing.connection import (
        Client,
        Connection,
        answer_challenge,
        deliver_challenge,
    )

    if hasattr(socket, "AF_UNIX"):
        with socket.socket(socket.AF_UNIX) as line:
            _set_limit(line, HANDSHAKE_SECONDS)  # also for the queue of connections
            line.connect(address)
            connection = Connection(line.detach())
    else:
        connection = Client(address)
    try:
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
    except BaseException:
        connection.close()
        raise
    return connection


def _messages(connection, pid):
    """What the other process says, until it is silent for too long."""
    last, told = time.monotonic(), False
    while (silent := time.monotonic() - last) < SILENCE_SECONDS:
        if connection.poll(0.2):
            yield json.loads(connection.recv_bytes())
            last = time.monotonic()
        elif silent > waits.NOTICE_SECONDS and not told:
            told = True
            waits.warn_of_silence(pid, silent, SILENCE_SECONDS)
    waits.warn_of_end(pid, silent)


def _limit_waits(connection, seconds):
    """Let each read and write raise BlockingIOError after so long."""
    if hasattr(socket, "AF_UNIX"):
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            _set_limit(line, seconds)


def _set_limit(line, seconds):
    limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        line.setsockopt(socket.SOL_SOCKET, option, limit)


def _forget_offers():
    # A forked child serves nobody. It would only keep its parent's sockets open.
    for one in _sockets:
        with suppress(OSError):
            one.close()
    _sockets.clear()
    _offered.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_offers)
