"""Where a cache lies: the platform's folder, and a part for each host on shared disks."""

import hashlib
import os
import platform
import re
import tempfile
from functools import cache
from pathlib import Path

from sklearn_llm2vec._common.checks import warn

HOSTS = "hosts"
# File systems that several hosts can mount at once; FUSE may be any of them. SQLite's
# write-ahead log is shared memory, so two hosts that open one file destroy it.
NETWORKED = (
    "9p afs beegfs ceph cifs coda fuse gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 "
    "orangefs panfs pvfs2 smb3 smbfs virtiofs wekafs"
).split()


def default_directory():
    """``$SKLEARN_LLM2VEC_CACHE``, else the platform's folder for caches."""
    if place := os.environ.get("SKLEARN_LLM2VEC_CACHE"):
        return Path(place).expanduser()
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "sklearn-llm2vec" / "Cache"
    is_mac = platform.system() == "Darwin"
    if not is_mac and (base := os.environ.get("XDG_CACHE_HOME")):
        return Path(base) / "sklearn-llm2vec"
    try:
        home = Path.home()
    except RuntimeError:  # a user of a container that has no entry anywhere
        return Path(_temporary().name)
    caches = home / "Library" / "Caches" if is_mac else home / ".cache"
    return caches / "sklearn-llm2vec"


@cache
def _temporary():
    """A folder that ends with the process; a fixed name could be another user's."""
    folder = tempfile.TemporaryDirectory(prefix="sklearn-llm2vec-")
    warn(
        f"You have no home folder, so the cache is in {folder.name}, which is removed "
        "when this process ends. Set SKLEARN_LLM2VEC_CACHE to a permanent folder."
    )
    return folder


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
