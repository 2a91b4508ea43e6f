"""A folder that a group shares: each member reads and writes what the others made."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache.connections import FILE
from sklearn_llm2vec._common import facts
from sklearn_llm2vec._common.shared_folders import make_folder, make_shared

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no groups of files here")
CELLS = {(1, "mean"): np.ones((1, 4), "f4")}
GROUP = 61_234


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    """Set a umask, for the test only."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mask", [0o002, 0o007, 0o022, 0o077])
def test_the_group_may_use_files_as_the_folder(mask, tmp_path, umask, monkeypatch):
    monkeypatch.setattr(facts, "_known", {})
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2770)
    umask(mask)
    cache = EmbeddingCache(folder)
    with cache._connections.using(create=True):
        cache.put_many("s", [b"1" * 16], CELLS)
        with cache.encode_lock("s", "cpu"):
            pass
        facts.remember("a fact", lambda: 1, folder)
        make_folder(folder / "hosts" / "one")
        names = os.listdir(folder)
        assert {FILE, f"{FILE}-wal", f"{FILE}-shm", "facts.json"} < set(names)
        for path in folder.rglob("*"):
            kind = 0o2070 if path.is_dir() else 0o060
            assert mode_of(path) & kind == kind, path
    cache.close()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
@pytest.mark.parametrize("folder_mode", [0o700, 0o755])
def test_elsewhere_the_umask_decides(mask, folder_mode, tmp_path, umask):
    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(folder_mode)
    umask(mask)
    cache = EmbeddingCache(folder)
    cache.put_many("s", [b"1" * 16], CELLS)
    with cache.encode_lock("s", "cpu"):
        pass
    cache.close()
    for path in folder.iterdir():
        assert mode_of(path) == 0o666 & ~mask, path


def test_another_groups_file_is_left_as_it_is(tmp_path, umask):
    if os.geteuid():
        pytest.skip("only root may give files to another group")
    folder, file = tmp_path / "shared", tmp_path / "shared" / "file"
    folder.mkdir()
    folder.chmod(0o777)
    file.touch()
    os.chown(file, -1, GROUP)
    make_shared(file)
    assert mode_of(file) == 0o644


def test_a_path_that_begins_with_no_folder(monkeypatch):
    # As a drive of Windows that isn't there, which is its own parent.
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    with pytest.raises(OSError):
        make_folder(Path("/"))


def test_a_cache_of_before_is_opened_to_the_group(tmp_path, umask):
    folder = tmp_path / "shared"
    folder.mkdir()
    cache = EmbeddingCache(folder)
    cache.put_many("s", [b"1" * 16], CELLS)
    cache.close()
    assert mode_of(folder / FILE) & 0o020 == 0
    folder.chmod(0o2770)
    assert EmbeddingCache(folder).put_many("s", [b"2" * 16], CELLS)
    assert mode_of(folder / FILE) & 0o060 == 0o060


# What is imported is read before, as root: Python may lie where others can't read it.
MEMBER = """
import os, warnings
import numpy as np
from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._common import facts
warnings.simplefilter("error")
os.setgroups([{group}])
os.setgid({own_group})
os.setuid({user})
os.umask({mask})
cache = EmbeddingCache({folder!r})
cells = {{(1, "mean"): np.ones((1, 4), "f4")}}
out = np.zeros((1, 4), "f4")
for user in {before}:
    assert cache.get_many("s", [bytes([user]) * 16], 1, "mean", out).all(), user
    assert facts.remember(f"of {{user}}", lambda: "lost", cache.path) == user
with cache.encode_lock("s", "cpu"):
    assert cache.put_many("s", [bytes([{number}]) * 16], cells) > 0
facts.remember("of {number}", lambda: {number}, cache.path)
if {number} == 3:
    assert cache.verify()["ok"]
    cache.prune(max_bytes=10**9)
"""


@pytest.mark.parametrize("mask", [0o007, 0o022, 0o077])
def test_two_users_of_one_group(mask):
    if os.geteuid():
        pytest.skip("only root may act as two users")
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o711)
        folder = Path(parent) / "shared"
        folder.mkdir()
        os.chown(folder, -1, GROUP)
        folder.chmod(0o2770)
        before = []
        for number, user in enumerate((61_001, 61_002, 61_001, 61_002), start=1):
            code = MEMBER.format(
                group=GROUP,
                own_group=user,
                user=user,
                mask=mask,
                folder=str(folder),
                before=before,
                number=number,
            )
            command = [sys.executable, "-c", code]
            told = subprocess.run(command, capture_output=True, text=True)
            assert told.returncode == 0, told.stderr
            before.append(number)
        with EmbeddingCache(folder) as cache:
            assert cache.info()["texts"] == 4
