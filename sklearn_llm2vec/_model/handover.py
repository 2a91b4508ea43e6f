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
    progress(n)                               <--  {"done": n} for each block in the cache
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
import stat
import threading
from pathlib import Path

from sklearn_llm2vec._common.checks import warn

# An offering process reports after each block, that is every few seconds; one that says
# nothing for so long is taken to hang, and the work is done here.
SILENCE_SECONDS = 120
# Of an offer: an address and a key.
MOST_BYTES = 10_000

_offered: set[Path] = set()
_lock = threading.Lock()


def is_worker():
    """Whether this is a child process, such as joblib starts: one of several alike."""
    return multiprocessing.current_process().name != "MainProcess"


def _address_file(directory, name):
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return Path(directory) / f"model-{digest}.json"


def is_offered(directory, name):
    """Whether another process seems to offer the model `name`."""
    path = _address_file(directory, name)
    return os.path.isfile(path) and path not in _offered


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
        if path in _offered or _is_open_to_all(directory):
            return
        key = secrets.token_bytes(32)
        try:
            listener = Listener(authkey=key)
            _write_private(path, {"address": listener.address, "key": key.hex()})
        except OSError:
            return  # no socket, no file: the others load the model themselves
        _offered.add(path)
    atexit.register(path.unlink, missing_ok=True)
    threading.Thread(target=_accept, args=(listener, encode), daemon=True).start()


def _write_private(path, content):
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    with os.fdopen(
        os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
    ) as f:
        json.dump(content, f)
    os.replace(beside, path)


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


def _is_open_to_all(directory):
    """Whether any user may put files into a folder, in the place of others' files."""
    try:
        mode = os.stat(directory).st_mode
    except OSError:
        return False
    if os.name == "nt" or not mode & stat.S_IWOTH or mode & stat.S_ISVTX:
        return False
    warn(
        f"Any user may write to the cache's folder {str(directory)!r}, so models aren't "
        "lent to other workers through it: each loads its own. Take that right away "
        "(chmod o-w), or choose another folder."
    )
    return True


def _accept(listener, encode):
    while True:
        try:
            connection = listener.accept()
        except Exception:  # a client that broke off or had the wrong key
            continue
        threading.Thread(target=_serve, args=(connection, encode), daemon=True).start()


def _serve(connection, encode):
    def say(**message):
        connection.send_bytes(json.dumps(message).encode())

    try:
        with connection:
            request = json.loads(connection.recv_bytes())
            say(done=0)
            n_encoded = 0
            try:
                for n in encode(**request):
                    n_encoded += n
                    say(done=n_encoded)
            except Exception as error:  # told to the client, who meets it itself
                say(error=repr(error))
            else:
                say(finished=n_encoded)
    except (OSError, EOFError):
        pass  # the client is gone; what was encoded is in the cache


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
    from multiprocessing.connection import Client

    path = _address_file(directory, name)
    if not is_offered(directory, name) or _is_open_to_all(directory):
        return None
    try:
        place = json.loads(_read_own(path))
        with Client(
            place["address"], authkey=bytes.fromhex(place["key"])
        ) as connection:
            request = {"texts": texts, "layers": layers, "poolings": poolings}
            connection.send_bytes(json.dumps(request).encode())
            while connection.poll(SILENCE_SECONDS):
                message = json.loads(connection.recv_bytes())
                if "finished" in message:
                    return message["finished"]
                if "error" in message:
                    return None
                if progress is not None:
                    progress(message["done"])
    except (OSError, EOFError, ValueError, KeyError, AuthenticationError):
        # The process that offered it was killed before it could take its offer back.
        path.unlink(missing_ok=True)
    return None
