"""Every cache file with views and triggers, or with others' tables, is refused."""

import re
import sqlite3
from datetime import timedelta

import pytest
from numbered_vectors import database, get, put

from sklearn_llm2vec import EmbeddingCache
from sklearn_llm2vec._cache import connections
from sklearn_llm2vec._cache.connections import FILE
from sklearn_llm2vec._cache.database import connect

REFUSED = "must be the database of an EmbeddingCache, with its tables and nothing else"
STRANGERS = {
    "a view": "CREATE VIEW strange AS SELECT * FROM cells",
    "a view for a table": "DROP TABLE counters;"
    "CREATE VIEW counters AS SELECT 'hits' AS name, 1 AS value",
    "a trigger": "CREATE TRIGGER strange AFTER INSERT ON blocks"
    " BEGIN DELETE FROM cells; END",
    "a trigger on a view": "CREATE VIEW strange AS SELECT 1 AS a;"
    "CREATE TRIGGER stranger INSTEAD OF INSERT ON strange BEGIN SELECT 1; END",
    "a table": "CREATE TABLE strange (a)",
    "an index": "CREATE INDEX strange ON cells (dim)",
}


def make_strange(cache, strangers, version=2):
    """A cache of some format with more in it; its file's content."""
    put(cache, range(3))
    cache.close()
    with database(cache) as db:
        if version == 1:
            db.execute("ALTER TABLE blocks DROP COLUMN format")
            db.execute("PRAGMA user_version = 1")
        db.executescript(strangers)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return (cache.path / FILE).read_bytes()


USES = {
    "put_many": lambda cache, file: put(cache, [7]),
    "get_many": lambda cache, file: get(cache, [1]),
    "has_any": lambda cache, file: cache.has_any("s", [b"0" * 16]),
    "describe": lambda cache, file: cache.describe("s", {"model": "m"}),
    "info": lambda cache, file: cache.info(),
    "verify": lambda cache, file: cache.verify(),
    "prune": lambda cache, file: cache.prune(older_than=timedelta(0)),
    "clear": lambda cache, file: cache.clear(),
    "export": lambda cache, file: cache.export(file),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("strangers", STRANGERS)
def test_an_opened_file_with_strangers(strangers, version, cache, tmp_path):
    before = make_strange(cache, STRANGERS[strangers], version)
    for use in USES.values():
        with pytest.raises(ValueError, match=REFUSED):
            use(cache, tmp_path / "exported")
    assert (cache.path / FILE).read_bytes() == before
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("strangers", STRANGERS)
def test_an_imported_file_with_strangers(strangers, version, cache, tmp_path):
    before = make_strange(cache, STRANGERS[strangers], version)
    with EmbeddingCache(tmp_path / "new") as new:
        put(new, [9])
        with pytest.raises(ValueError, match=f"{cache.path / FILE} {REFUSED}"):
            new.import_(cache.path / FILE)
        assert new.info()["texts"] == 1
        assert get(new, [9]).all()
    assert (cache.path / FILE).read_bytes() == before


def test_a_file_that_can_only_be_read(cache, monkeypatch):
    make_strange(cache, STRANGERS["a trigger"])

    def read_only(place, **kwargs):
        if not kwargs:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(place, **kwargs)

    monkeypatch.setattr(connections, "connect", read_only)
    with pytest.warns(UserWarning, match="can't be written"):
        with pytest.raises(ValueError, match=REFUSED):
            get(cache, [1])


def test_names_in_a_file_reach_no_terminal(cache):
    make_strange(cache, 'CREATE TABLE "strange\x1b[2J" (a)')
    with pytest.raises(ValueError, match=REFUSED) as refused:
        cache.info()
    assert str(refused.value).isprintable()
    assert r"the table 'strange\x1b[2J'" in str(refused.value)


def test_long_names_in_a_file_are_cut(cache):
    make_strange(cache, f"CREATE TABLE {'long' * 1000} (a)")
    with pytest.raises(ValueError, match=REFUSED) as refused:
        cache.info()
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("flip", ["n_rows INTEGER", "CREATE INDEX rows_of_block"])
def test_a_damaged_definition_is_told_as_damage(flip, cache):
    put(cache, range(3))
    cache.close()
    path = cache.path / FILE
    content = path.read_bytes()
    assert len(re.findall(flip.encode(), content)) == 1
    path.write_bytes(content.replace(flip.encode(), flip.replace("r", "q", 1).encode()))
    with pytest.raises(ValueError, match="is damaged or contains something else"):
        cache.info()


def test_each_connection_trusts_no_schema(cache):
    put(cache, [1])
    with cache._connections.using() as db:
        found = [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("trusted_schema", "cell_size_check")
        ]
    assert found == [0, 1]
