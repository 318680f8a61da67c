"""What `catalog new` makes passes the conformance suite as it is, run as its author would."""

import os
import re
import subprocess
import sys

import pytest

from executors.ansible.sandbox import SHARED
from executors.authoring import new_type
from tests.systems.catalogue import ROOT

pytestmark = [pytest.mark.systems]


def test_a_new_type_passes_the_whole_suite_by_one_command(tmp_path):
    new_type(SHARED / "skeleton", tmp_path, "shop", "ShopShelf")
    own = dict.fromkeys(("CONFORMANCE_TABLE", "CONFORMANCE_SUMMARY"), "")  # those of the suite around this one
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*argv, "-m", "systems", "tests/systems"],
        env={**os.environ, **own, "MERGEYARD_CATALOG": str(tmp_path), "CONFORMANCE_TYPE": "shop"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^kinds 1, properties 1[0-9], failed 0, not tested 0$", done.stdout, re.MULTILINE), done.stdout
