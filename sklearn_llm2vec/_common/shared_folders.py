"""If a group may write to a folder, the group may also use the files in it.

This is what git does with ``core.sharedRepository=group``. In other folders, the umask
decides.
"""

import os
import stat
from contextlib import suppress


def make_folder(path):
    """Make a folder and those above it, as ``mkdir(parents=True, exist_ok=True)``."""
    if path.is_dir():
        return
    # A loop that ends: a path may begin with something that is no folder, such as a
    # drive of Windows that isn't there, which is its own parent.
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            make_shared(folder)


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


def who_else_may_write(folder):
    """Who may replace the files in a folder that its user hasn't shared with them.

    The owner of a folder may replace what is in it. With mode 2770, the folder is shared
    with its owner and group on purpose. With mode 1777, as in ``/tmp``, everybody may
    write to it, but only its owner can replace files of others. The superuser always can.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    str or None
        A phrase that follows the name of the folder. None if nobody else may, if the
        folder can't be seen, or where files have no owners and modes.
    """
    try:
        state = os.stat(folder)
    except OSError:
        return None
    if not hasattr(os, "getuid"):
        return None
    if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
        return "may be written by any user"
    of_group = stat.S_ISGID | stat.S_IWGRP
    if state.st_uid in (0, os.getuid()) or state.st_mode & of_group == of_group:
        return None
    return "belongs to another user"
