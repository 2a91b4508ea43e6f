"""Offers of a model that another user has put into the cache's folder get no text."""

import json
import os
import stat
import threading
from multiprocessing.connection import Listener
from types import SimpleNamespace

import pytest

from sklearn_llm2vec._common import shared_folders
from sklearn_llm2vec._model import handover

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no owners and modes as here")
WORK = {"texts": ["a secret"], "layers": [1], "poolings": ["mean"]}


@pytest.fixture
def got(tmp_path):
    """What reaches a listener whose offer lies in ``tmp_path``, as its owner wrote it."""
    key, requests = b"k" * 32, []
    listener = Listener(authkey=key)

    def listen():
        while True:
            try:
                with listener.accept() as connection:
                    requests.append(connection.recv_bytes())
                    connection.send_bytes(json.dumps({"finished": 1}).encode())
            except Exception:
                return

    threading.Thread(target=listen, daemon=True).start()
    path = handover._address_file(tmp_path, "a model")
    path.write_text(
        json.dumps({"address": listener.address, "key": key.hex(), "pid": os.getpid()})
    )
    path.chmod(0o600)
    yield requests
    listener.close()


def ask(tmp_path):
    return handover.hand_over(tmp_path, "a model", **WORK)


def test_an_own_offer_is_taken(got, tmp_path):
    tmp_path.chmod(0o2770)  # the folder of a group
    assert ask(tmp_path) == 1
    assert len(got) == 1


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_offer_that_others_may_write_is_left(mode, got, tmp_path):
    handover._address_file(tmp_path, "a model").chmod(mode)
    assert ask(tmp_path) is None
    assert got == []


def test_an_offer_of_another_user_is_left(got, tmp_path, monkeypatch):
    path, owner = handover._address_file(tmp_path, "a model"), os.getuid()
    monkeypatch.setattr(handover, "_address_file", lambda *name: path)
    assert ask(tmp_path) == 1
    got.clear()
    # The folder is one that they share, so that only the offer's owner is in the way.
    tmp_path.chmod(0o2770)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    assert handover.is_offered(tmp_path, "a model")
    assert ask(tmp_path) is None
    assert got == []


def test_a_link_to_an_offer_is_left(got, tmp_path):
    path = handover._address_file(tmp_path, "a model")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert ask(tmp_path) is None
    assert got == []


def test_a_folder_that_is_open_to_all_lends_nothing(got, tmp_path):
    tmp_path.chmod(0o777)
    with pytest.warns(UserWarning, match="may be written by any user.*chmod 2770"):
        assert ask(tmp_path) is None
    assert got == []


# Who may replace an offer in a folder of this mode, if it belongs to the user itself, to
# the superuser, or to another user.
ANYBODY, OWNER = "may be written by any user", "belongs to another user"
FOLDERS = {
    0o700: (None, None, OWNER),
    0o755: (None, None, OWNER),
    0o775: (None, None, OWNER),
    0o2770: (None, None, None),
    0o2775: (None, None, None),
    0o2750: (None, None, OWNER),
    0o1777: (None, None, OWNER),
    0o777: (ANYBODY, ANYBODY, ANYBODY),
    0o2777: (ANYBODY, ANYBODY, ANYBODY),
    0o702: (ANYBODY, ANYBODY, ANYBODY),
}


@pytest.mark.parametrize("mode", FOLDERS, ids=oct)
def test_who_else_may_write_to_a_folder(mode, monkeypatch):
    me, superuser, another = 1000, 0, 1001
    found = []
    for owner in (me, superuser, another):
        state = SimpleNamespace(st_mode=stat.S_IFDIR | mode, st_uid=owner)
        system = SimpleNamespace(stat=lambda path, s=state: s, getuid=lambda: me)
        monkeypatch.setattr(shared_folders, "os", system)
        found.append(shared_folders.who_else_may_write("folder"))
    assert tuple(found) == FOLDERS[mode]


def test_a_folder_of_another_user_lends_nothing(got, tmp_path, monkeypatch):
    monkeypatch.setattr(handover, "who_else_may_write", lambda folder: OWNER)
    for call in (lambda: ask(tmp_path), lambda: offer(tmp_path)):
        with pytest.warns(UserWarning, match="belongs to another user.*chmod 2770"):
            assert call() is None
    assert got == []
    assert not handover._address_file(tmp_path, "another model").exists()


def offer(tmp_path):
    handover.offer(tmp_path, "another model", lambda **work: [])
