"""Outputs: whole or absent, and what had the name keeps its kind and its permissions."""

import os
import stat

import pytest

from sklearn_llm2vec._common.whole_files import check_file, check_output, whole_file


def test_an_interrupted_file_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.npy"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_permissions(mode, tmp_path):
    path = tmp_path / "a.npy"
    path.touch()
    path.chmod(mode)
    with whole_file(path) as file:
        file.write(b"after")
        (part,) = tmp_path.glob(".a.npy.*.part")
        assert stat.S_IMODE(part.stat().st_mode) == mode  # from the first byte on
    assert path.read_bytes() == b"after"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a.npy") as file:
            file.write(b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.npy").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "a.npy", tmp_path / "link.npy"
    target.write_bytes(b"before")
    link.symlink_to(target)
    with whole_file(link) as file:
        file.write(b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe.npy"
    os.mkfifo(path)
    with pytest.raises(OSError, match="must be a plain file"):
        check_output(path)
    with pytest.raises(OSError, match="must be a plain file"):
        check_file(path, "save", "a.npy")
    assert stat.S_ISFIFO(path.stat().st_mode)
