"""The cache on disks that several hosts share: each has a database of its own."""

import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sklearn_llm2vec import EmbeddingCache, LLMEmbeddingTransformer
from sklearn_llm2vec._cache.connections import FILE
from sklearn_llm2vec._common import places as place_module

MOUNTS = """\
/dev/sda / ext4 rw 0 0
tmpfs /home tmpfs rw 0 0
srv:/home /home nfs4 rw 0 0
/dev/sdb /home/me/local\\040disk xfs rw 0 0
bucket /mnt/b fuse.s3fs rw 0 0
"""


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/", "ext4"),
        ("/homes/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/cache", "nfs4"),
        ("/home/me/local disk/cache", "xfs"),
        ("/mnt/b/cache", "fuse.s3fs"),
    ],
)
def test_the_file_system_of_a_path(path, kind):
    assert place_module._file_system(path, MOUNTS) == kind


def on_host(monkeypatch, name, networked=True):
    monkeypatch.setattr(place_module, "host_name", lambda: name)
    monkeypatch.setattr(place_module, "_is_networked", lambda place: networked)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_host_never_opens_the_database_of_another(tmp_path, monkeypatch):
    cells = {(1, "mean"): np.ones((1, 4), np.float32)}
    key, out = [b"0123456789abcdef"], np.zeros((1, 4), np.float32)
    on_host(monkeypatch, "first")
    first = EmbeddingCache(tmp_path, storage="float16")
    first.put_many("space", key, cells)
    assert first.path == tmp_path / "hosts" / "first"
    sent = pickle.dumps(first)
    first.close()
    before = contents(first.path)

    on_host(monkeypatch, "second")
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda place, **k: opened.append(place) or connect(place, **k),
    )
    for second in (pickle.loads(sent), EmbeddingCache(tmp_path, storage="float16")):
        assert second == first  # what was asked for is the same
        assert not second.get_many("space", key, 1, "mean", out).any()
        second.encode_lock("space", "cpu")
        assert second.info()["path"] == str(tmp_path / "hosts" / "second")
    second.put_many("space", key, cells)
    assert second.get_many("space", key, 1, "mean", out).all()
    assert set(opened) == {tmp_path / "hosts" / "second" / FILE}
    assert contents(first.path) == before

    on_host(monkeypatch, "first")
    back = pickle.loads(pickle.dumps(second))
    assert back.get_many("space", key, 1, "mean", out).all()
    assert back.path == first.path


def test_vectors_are_carried_from_host_to_host(tmp_path, monkeypatch):
    key, out = [b"0123456789abcdef"], np.zeros((1, 4), np.float32)
    on_host(monkeypatch, "first")
    first = EmbeddingCache(tmp_path)
    first.put_many("space", key, {(1, "mean"): np.full((1, 4), 3, np.float32)})
    first.export(tmp_path / "exported")
    on_host(monkeypatch, "second")
    second = EmbeddingCache(tmp_path)
    assert second.import_(tmp_path / "exported") == 1
    assert second.get_many("space", key, 1, "mean", out).all()
    np.testing.assert_array_equal(out, 3)


def test_a_local_disk_is_one_place_whatever_the_host_is_called(tmp_path, monkeypatch):
    # A container has another name each time that it starts.
    for name in ("first", "second"):
        on_host(monkeypatch, name, networked=False)
        assert EmbeddingCache(tmp_path).path == tmp_path


def test_a_transformer_that_arrives_on_another_host(llama, tmp_path):

    # By any way that a cache can be given; each process is a host.
    code = """
import pickle, sys
from sklearn_llm2vec._common import places
places.host_name = lambda: sys.argv[1]
places._is_networked = lambda place: True
encoder = pickle.load(open(sys.argv[2], "rb"))
print(encoder.transform(["card", "bank"]).sum(), encoder.last_report_.encoded)
"""
    folder = tmp_path / "cache"
    ways = [str(folder), EmbeddingCache(folder, size_limit=10**9)]
    expected = {("a", 0): 2, ("b", 0): 2, ("a", 1): 0}
    for (host, way), n_encoded in expected.items():
        file = tmp_path / f"{way}.pickle"
        encoder = LLMEmbeddingTransformer(llama, cache=ways[way])
        file.write_bytes(pickle.dumps(encoder))
        done = subprocess.run(
            [sys.executable, "-c", code, host, str(file)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert int(done.stdout.split()[1]) == n_encoded
    found = sorted(path.relative_to(folder) for path in folder.rglob(FILE))
    assert found == [Path("hosts") / host / FILE for host in "ab"]
