"""A few seeds of what bin/soak does for hours."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import not_tested
from tests.faults.cluster import FAKETIME
from tests.faults.nemesis import THREATS

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    "--seeds",
    "2",
    "--parts",
    "2",
    "--rounds",
    "1",
    "--seconds",
    "20",
    "--calm",
    "0.1",
    "--open",
    "10",
    "--lease",
    "6",
)
LINE = re.compile(r"merges (\d+), faults (\d+), lost 0, doubled 0, out of order 0, leaked 0")
TRIED = re.compile(r"^seed \d+: tried (.+)$", re.MULTILINE)


@pytest.mark.threat(
    "faults.kill-web",
    "faults.kill-worker",
    "faults.kill-controller",
    "faults.kill-play",
    "faults.stopped-worker",
    "faults.redis-killed",
    "faults.redis-emptied",
    "faults.redis-full",
    "faults.redis-slow",
    "faults.database-gone",
    "faults.database-commit",
    "faults.database-conflict",
    "faults.database-restarted",
    "faults.controllers",
    "faults.git-gone",
    "faults.git-slow",
    "faults.clock",
    "faults.disk-repository",
    "faults.disk-attempts",
    "faults.disk-database",
    "git.commit-on-main",
)
def test_under_every_fault_nothing_is_lost_doubled_out_of_order_or_leaked(request):
    """Each fault that is such a threat once, half of them in each seed; then others, as long as there is time."""
    argv = [sys.executable, "-m", "tests.faults.soak", *OPTIONS]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    merges, faults = map(int, LINE.fullmatch(done.stdout.splitlines()[-1]).groups())
    wanted = {THREATS[threat] for threat in request.node.get_closest_marker("threat").args}
    if "No disk can be filled" in done.stdout:
        wanted = {name for name in wanted if not name.startswith("full disk")}
        not_tested.append("not tested: full disks: that takes root and a mount namespace")
    if not FAKETIME.exists():
        wanted = {name for name in wanted if not name.startswith("clock")}
        not_tested.append("not tested: clocks that are set while processes run: faketime is not installed")
    tried = {name for names in TRIED.findall(done.stdout) for name in names.split(", ")}
    assert wanted - tried == set()
    assert faults >= len(wanted)
    assert merges >= 10
