"""Every writer: a pipe is refused, a link stays, permissions stay."""

import os
import stat

import pandas as pd
import pytest

from sklearn_llm2vec import (
    EmbeddingCache,
    LayerPoolingReport,
    LLMEmbeddingTransformer,
    transform_to_npy,
)
from sklearn_llm2vec._model.adapters import TrainedAdapter, save_adapter
from sklearn_llm2vec.cli import main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes and modes of Unix")
TEXTS = ["a small card", "the dog"] * 6


@pytest.fixture
def writers(bert, tmp_path, capsys):
    """Functions that write to a path with the ending of their name."""
    cache = tmp_path / "cache"
    transformer = LLMEmbeddingTransformer(bert, cache=cache, verbose=False)
    transformer.fit(TEXTS)
    table = tmp_path / "table.csv"
    pd.DataFrame({"text": TEXTS, "y": [0, 1] * 6}).to_csv(table, index=False)

    def embed(path):
        argv = ["embed", str(table), "--text", "text", "-o", str(path)]
        options = ["--model", bert, "--cache", str(cache), "--quiet", "--overwrite"]
        if main([*argv, *options]):
            raise OSError(capsys.readouterr().err)

    page = LayerPoolingReport(html="<html></html>", code="", best={})
    return {
        "x.npy": lambda path: transform_to_npy(transformer, TEXTS, path),
        "x.parquet": embed,
        "x.csv": embed,
        "x.html": page.save,
        "x.sqlite3": lambda path: EmbeddingCache(cache).export(path),
    }


NAMES = ["x.npy", "x.parquet", "x.csv", "x.html", "x.sqlite3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_is_refused_and_stays(name, writers, tmp_path):
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(OSError, match=r"plain file|must not overwrite"):
        writers[name](path)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_link_and_its_files_permissions_stay(name, writers, tmp_path):
    target = tmp_path / f"target-{name}"
    target.write_bytes(b"before")
    target.chmod(0o640)
    (tmp_path / name).symlink_to(target)
    writers[name](tmp_path / name)
    assert (tmp_path / name).is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_bytes() != b"before"


def test_saved_adapters_replace_no_pipe(tmp_path):
    adapter = TrainedAdapter("mntp", b"{}", b"weights", True)
    os.mkfifo(tmp_path / "adapter_model.safetensors")
    with pytest.raises(OSError, match="plain file"):
        save_adapter(adapter, tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()


def test_a_report_is_a_page(writers, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.html"):
        writers["x.html"](tmp_path / "report.png")
    assert not (tmp_path / "report.png").exists()
