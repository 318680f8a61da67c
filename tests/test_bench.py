"""The benchmarks start: what they measure is not for every run of the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("module", "given", "said"),
    [
        ("kinds", ["Nothing"], "No kind and no system type is called Nothing."),
        ("runs", ["--help"], "How long a run takes"),
        ("lines", ["--help"], "lines"),
    ],
)
def test_a_benchmark_starts(module, given, said):
    command = [sys.executable, "-m", f"tests.bench.{module}", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said in done.stdout + done.stderr
