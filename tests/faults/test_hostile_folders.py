"""Folders of an attacker end in right vectors or in one sentence, within seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNS = HERE / "hostile_runs.py"
FINE = {"right", "other", "refused"}


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="each case runs in a forked process"
)
@pytest.mark.skipif(sys.platform != "linux", reason="limits are read from /proc")
@pytest.mark.parametrize("group", ["folders", "declared", "adapters", "ggufs"])
def test_hostile_folders(group, tmp_path):
    # Every 32nd case here; benchmarks/soak_inputs.py runs them all.
    done = subprocess.run(
        [sys.executable, RUNS, "--every", "32", group],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # Other lines are what libraries print.
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    outcomes = [json.loads(line) for line in lines]
    assert len(outcomes) > 3
    assert [one for one in outcomes if one["came"] not in FINE] == []
