"""Offers of a model that another user has put into the cache's folder get no text."""

import json
import os
import threading
from multiprocessing.connection import Listener

import pytest

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
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
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
    with pytest.warns(UserWarning, match="Any user may write"):
        assert ask(tmp_path) is None
    assert got == []
