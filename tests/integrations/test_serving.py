"""The app of the page on serving, run as it stands there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/howto/serve.md"
pytestmark = pytest.mark.filterwarnings("ignore")  # starlette's own


def test_the_app_of_the_page_answers_and_starts_warm(minilm, tmp_path, monkeypatch):
    pytest.importorskip("fastapi", reason="fastapi isn't installed")
    pytest.importorskip("httpx", reason="httpx isn't installed")
    from fastapi.testclient import TestClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKLEARN_LLM2VEC_CACHE", str(tmp_path / "cache"))
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    saving, app, _ = blocks  # the last one changes the app for tables
    exec(saving, {})
    for n_cached in (0, 2):  # the second start finds the cache of the first
        names = {"__name__": "app"}
        exec(app, names)
        report = names["pipe"][0].__dict__
        with TestClient(names["app"]) as client:
            assert report["last_report_"].encoded == 1
            answer = client.post(
                "/predict", json={"texts": ["where is my card", "send money"]}
            )
            assert answer.json() == {"labels": ["card", "money"]}
            assert report["last_report_"].cached == n_cached
            assert client.post("/predict", json={"texts": []}).status_code == 422
