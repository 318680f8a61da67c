"""`bin/demo --once`: the main job by itself, in the longest path that the demo's servers can have, beside a proxy."""

import re
import subprocess
import sys

import pytest

from portal.demo.home import LONGEST_PATH
from tests.demo.test_start import DEAD_PROXY, left_of
from tests.journeys.conftest import ROOT, outside

pytestmark = pytest.mark.stack


def test_it_does_the_main_job_by_itself_says_every_step_and_stops_what_it_started(tmp_path_factory):
    directory = tmp_path_factory.mktemp("o")
    home = directory / ("h" * (LONGEST_PATH - len(str(directory)) - 1))
    argv = [sys.executable, "-m", "portal.demo", "--once", "--home", str(home)]
    done = subprocess.run(argv, cwd=ROOT, env=outside() | DEAD_PROXY, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    steps = re.findall(r"^ +\d+\.\d s  (.*)$", done.stdout, re.MULTILINE)
    assert sum("may not approve it" in step for step in steps) == 3
    assert sum("applied to the systems: succeeded" in step for step in steps) == 3
    assert sum("is there as asked" in step for step in steps) == 5
    assert sum("is gone" in step for step in steps) == 4
    assert re.search(
        r"^All of it held, in \d+\.\d s\.\nStopping what was started \.\.\.\n\Z", done.stdout, re.MULTILINE
    )
    assert left_of({}, home) == set()
