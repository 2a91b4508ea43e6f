"""Random inputs of every kind for `fit` and `transform`, and what must come of them."""

import datetime
import decimal
import random
import warnings

import numpy as np
import pandas as pd
import polars
import pyarrow
import scipy.sparse

POOL = [
    *("", " ", "a small card", "the dog", "Bank fee", "a\nb\tc", "x" * 3000),
    *("null \0 inside", "half \ud800 a pair", "\udfff", "\U0001f600 smile", "ß İ ﬁ"),
    *("\u202e right to left", "nan", "None", "b'bytes'", "1e999", "{text}", "<s> </s>"),
    *("[MASK] of a token", "\x1b[2J", "e\u0301" * 50, "中文 字", "\ufeff mark"),
]
MISSING = [
    None,
    float("nan"),
    pd.NA,
    pd.NaT,
    np.float64("nan"),
    np.datetime64("NaT", "ns"),
]
ODD = [
    *(b"bytes", bytearray(b"a"), 1, -1, 10**400, 2**63, 1.5, float("inf"), True, 1j),
    *([], ["a"], ("a", "b"), {}, {"a": "b"}, set(), object(), len, ..., range(3)),
    *(
        decimal.Decimal("NaN"),
        datetime.date(2024, 1, 1),
        np.str_("the dog"),
        np.int64(3),
    ),
    *(
        np.array(["a"]),
        np.array("a"),
        np.zeros((2, 2)),
        pd.Series(["a"]),
        memoryview(b"a"),
    ),
]
NAMES = ["a", "b", "", 0, 1.5, None, "a\0", "\ud800", ("a", "b"), "x" * 1000]


def texts_of(draw, n, p_missing=0.2):
    """Values of a column that is right: texts, and missing ones."""
    return [
        draw.choice(MISSING[:1]) if draw.random() < p_missing else draw.choice(POOL)
        for _ in range(n)
    ]


def odd_values(draw, n):
    """Values among which some are no texts."""
    return [draw.choice(draw.choice([POOL, MISSING, ODD])) for _ in range(n)]


def nested(draw, depth):
    if depth == 0:
        return draw.choice(draw.choice([POOL, MISSING, ODD]))
    return [nested(draw, depth - 1) for _ in range(draw.randrange(4))]


def without_halves(values):
    """Arrow and polars have no place for half of a pair."""
    halves = ("half \ud800 a pair", "\udfff")
    return ["the dog" if v in halves else v for v in values]


def right_input(draw):
    """An input that must be read, and the texts of its columns."""
    n = draw.randrange(1, 8)
    values = texts_of(draw, n)
    kind = draw.randrange(9)
    if kind == 0:
        return values, [values]
    if kind == 1:
        return np.array(values, dtype=object), [values]
    if kind == 2:
        return pd.Series(values, dtype=object, index=draw.sample(range(99), n)), [
            values
        ]
    if kind == 3:
        values = without_halves(values)
        return pd.Series(values, dtype="string"), [values]
    if kind == 4:
        values = without_halves(values)
        return pd.Series(values, dtype=object).astype("category"), [values]
    columns = [texts_of(draw, n) for _ in range(draw.randrange(1, 4))]
    if kind == 5:
        return np.array(columns, dtype=object).T, columns
    if kind == 6:
        named = {name: c for name, c in zip("abc", columns, strict=False)}
        return pd.DataFrame(named, dtype=object), columns
    columns = [without_halves(column) for column in columns]
    named = {name: c for name, c in zip("abc", columns, strict=False)}
    if kind == 7:
        return polars.DataFrame(
            named, schema=dict.fromkeys(named, polars.String)
        ), columns
    return pyarrow.table(
        {k: pyarrow.array(v, pyarrow.string()) for k, v in named.items()}
    ), columns


def _frame(draw, values):
    names = [draw.choice(NAMES) for _ in range(draw.randrange(4))]
    frame = pd.DataFrame(
        {i: pd.Series(values, dtype=object) for i in range(len(names))}
    )
    frame.columns = pd.Index(names, dtype=object)
    return frame


MAKERS = [
    lambda draw, v: v,
    lambda draw, v: tuple(v),
    lambda draw, v: iter(v),
    lambda draw, v: dict(enumerate(v)),
    lambda draw, v: {str(x) for x in v},
    lambda draw, v: draw.choice([*POOL, *MISSING, *ODD]),
    lambda draw, v: nested(draw, draw.randrange(5)),
    lambda draw, v: np.array([None, *v], dtype=object)[1:],
    lambda draw, v: np.array(draw.choice(POOL)),
    lambda draw, v: np.array([POOL[:2]] * 2).reshape(2, 1, 2),
    lambda draw, v: np.array([str(x) for x in v]),
    lambda draw, v: np.array([b"a", b"bc"]),
    lambda draw, v: np.zeros((draw.randrange(3), draw.randrange(3)), dtype=object),
    lambda draw, v: np.ma.masked_array(np.array(["a"] * 2, object), [True, False]),
    lambda draw, v: np.array([("a", 1)], dtype=[("x", "U3"), ("y", int)]),
    lambda draw, v: np.arange(4) if draw.random() < 0.5 else np.ones((2, 2)),
    lambda draw, v: scipy.sparse.eye(3, format="csr"),
    lambda draw, v: pd.Series(v, dtype=object),
    lambda draw, v: pd.Series(
        [None, None], dtype=draw.choice(["string", "float", object])
    ),
    lambda draw, v: pd.Series(pd.Categorical(["a", None, "b"])),
    lambda draw, v: pd.Series(pd.Categorical([1, 2, None])),
    lambda draw, v: pd.Series(["2024-01-01", None], dtype="datetime64[ns]"),
    lambda draw, v: pd.Index(["a", "b"]),
    lambda draw, v: _frame(draw, v),
    lambda draw, v: pd.DataFrame(index=range(draw.randrange(3))),
    lambda draw, v: pd.DataFrame(
        {"a": ["x"], "b": [draw.choice([1, 2.5, None, True])]}
    ),
    lambda draw, v: pd.DataFrame(
        [["a", "b"]], columns=pd.MultiIndex.from_tuples([(1, 2), (1, 3)])
    ),
    lambda draw, v: polars.Series("a", ["x", None]),
    lambda draw, v: polars.DataFrame({"a": [1, 2]}),
    lambda draw, v: polars.DataFrame({"a": [["x"], None]}),
    lambda draw, v: polars.DataFrame({"a": ["x", "y"]}).lazy(),
    lambda draw, v: polars.DataFrame({"a": ["x"]}, schema={"a": polars.Categorical}),
    lambda draw, v: polars.DataFrame(),
    lambda draw, v: pyarrow.array(["a", None]),
    lambda draw, v: pyarrow.chunked_array([["a"], []]),
    lambda draw, v: pyarrow.table({"a": pyarrow.array([1, None])}),
    lambda draw, v: pyarrow.table([["a"], ["b"]], names=["a", "a"]),
    lambda draw, v: pyarrow.table({"a": pyarrow.array(["a", "b"]).dictionary_encode()}),
    lambda draw, v: pyarrow.table({"a": pyarrow.array([b"\xff"])}),
    lambda draw, v: pyarrow.table({}),
]


def any_input(draw):
    """An input of any kind; what must come of it isn't known."""
    values = odd_values(draw, draw.randrange(6))
    try:
        return draw.choice(MAKERS)(draw, values)
    except (ValueError, TypeError, pyarrow.ArrowException):
        return values  # the library can't hold them itself


def outcomes(transformer, n, seed=0):
    """Yield what came of each of `n` inputs: "right", "other", "refused", or a fault.

    Parameters
    ----------
    transformer : LLMEmbeddingTransformer
        With ``missing="zero"``, and a cache.
    n, seed : int
    """
    draw = random.Random(seed)
    width = transformer.fit_transform(["a"]).shape[1]
    single = {text: transformer.fit_transform([text])[0] for text in POOL}
    single[None] = np.zeros(width)
    for i in range(n):
        X, columns = right_input(draw) if i % 2 else (any_input(draw), None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                got = np.asarray(transformer.fit_transform(X))
            except (ValueError, TypeError) as error:
                raw = isinstance(error, UnicodeError) or not _is_sentence(str(error))
                fault = raw or columns is not None
                yield ("fault" if fault else "refused"), X, repr(error)
                continue
            except Exception as error:
                yield "fault", X, repr(error)
                continue
        if columns is None:
            fine = got.ndim == 2 and np.isfinite(got).all()
            yield ("other" if fine else "fault"), X, f"shape {got.shape}"
            continue
        want = np.hstack([[single[text] for text in column] for column in columns])
        same = got.shape == want.shape and np.array_equal(got, want)
        yield ("right" if same else "fault"), X, "other vectors than those of its texts"


def _is_sentence(said):
    return any(word in said for word in ("must", "expects", "xpected", "required"))
