"""Tokens and vectors of published families are those of transformers 4.57 and others.

The families are those of ``benchmarks/parity.py``, which recorded what is compared here:
``python benchmarks/parity.py --build FOLDERS --reference PYTHON --record
tests/data/parity.npz``.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
parity = pytest.importorskip("parity", reason="the benchmarks aren't here")
write_folder = pytest.importorskip("parity_folders").write_folder
FAMILIES, PROBES = parity.FAMILIES, parity.PROBES

RECORDED = np.load(ROOT / "tests" / "data" / "parity.npz")
TEXTS = [PROBES[n] for n in parity.SHOWN]
COMPARED = sorted({name.rpartition("/")[0] for name in RECORDED.files})
# Other vectors than those of the first reference, and why.
OPEN = {
    "lowercase-by-settings": "sentence-transformers 5 puts special tokens that are "
    "written out in a text into lower case, too, 6 and this library don't",
}
# Weights that only transformers 4 makes.
NOT_HERE = "bert-relative-positions"
REFUSED = [n for n, one in FAMILIES.items() if one.refused and n != NOT_HERE]


@pytest.fixture
def folder_of(tmp_path):
    def write(name):
        write_folder(FAMILIES[name], tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=OPEN[name]))
        if name in OPEN
        else name
        for name in COMPARED
    ],
)
def test_vectors_are_those_of_the_reference(name, folder_of):
    folder = folder_of(name)
    vectors, _ = parity.our_vectors(folder, FAMILIES[name].parameters, TEXTS)
    worst, text = parity.difference(vectors, RECORDED[f"{name}/vectors"], TEXTS)
    assert worst < parity.BAR, text
    if f"{name}/ids" in RECORDED:
        ids = parity.digests(parity.our_ids(folder))
        different = np.flatnonzero(ids != RECORDED[f"{name}/ids"])
        assert not len(different), [PROBES[n] for n in different]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_encoder_is_refused_with_the_reason(name, folder_of):
    family = FAMILIES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, ImportError)) as caught:
            parity.our_vectors(folder_of(name), family.parameters, TEXTS)
    assert family.refused.lower() in str(caught.value).lower()
