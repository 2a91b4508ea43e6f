"""Each page's examples run in an empty folder, with an empty cache, without the hub."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import pytest

collect_ignore = ["_build", "api", "gallery", "conf.py"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """What a page writes, and what it finds in the cache, is its own."""
    monkeypatch.setenv("SKLEARN_LLM2VEC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
