"""If a group may write to a folder, the group may also use the files in it.

This is what git does with ``core.sharedRepository=group``. In other folders, the umask
decides.
"""

import os
import stat
from contextlib import suppress


def make_folder(path):
    """Make a folder and those above it, as ``mkdir(parents=True, exist_ok=True)``."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        make_shared(path)


def touch(path):
    """Make an empty file if there is none."""
    if not os.path.exists(path):
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))


def make_shared(path):
    """Let the group of a folder use a file or folder in it.

    This is done only if the group may write to the folder and the file belongs to that
    group, as it does in a folder with the setgid bit. Files of others aren't changed.
    """
    with suppress(OSError):
        folder, its = os.stat(os.path.dirname(path)), os.stat(path)
        if os.name == "nt" or not folder.st_mode & stat.S_IWGRP:
            return
        wanted = stat.S_IRGRP | stat.S_IWGRP
        if stat.S_ISDIR(its.st_mode):
            wanted |= stat.S_IXGRP | (folder.st_mode & stat.S_ISGID)
        if its.st_gid == folder.st_gid and its.st_mode & wanted != wanted:
            os.chmod(path, stat.S_IMODE(its.st_mode) | wanted)
