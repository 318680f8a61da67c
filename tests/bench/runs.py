"""How long a run takes from its claim to its recorded end, warm and cold, against a bare `ansible-playbook`.

All are timed in turn in one run. The play has one resource, an action plugin that writes a file; a run of ours is
claimed, prepared, played through ansible-runner in a sandbox, its events and result are stored, by a worker that had
waited for work.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.yard import CATALOG, open_yard


def main():
    parser = argparse.ArgumentParser(prog="bin/bench runs", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with open_yard() as yard:
        from django.conf import settings

        from executors.ansible import runners, sandbox
        from executors.claim import claim
        from executors.reconcile import reconcile
        from executors.runs import work_on
        from tests.executors.conftest import box, document

        size = iter(range(1, 10_000))

        def run(*, warm, contained=True):
            settings.MERGEYARD_WARM_SANDBOXES = 4 if warm else 0
            settings.MERGEYARD_CONTAINMENT = "auto" if contained else "off"
            sandbox.containment.cache_clear()
            sandbox.containment()
            yard.merge({box("orders"): document("Box", size=next(size))})
            while reconcile():
                pass
            runners.keep_ready()
            time.sleep(0.3)
            claimed = claim("shelf-a", worker="bench")
            began = time.monotonic()
            work_on(claimed)
            took = time.monotonic() - began
            assert yard.items()[-1].state == "succeeded", yard.items()[-1].reason
            return took

        def plain():
            """What somebody without Mergeyard would start."""
            attempt = yard.directory / "plain"
            attempt.mkdir(exist_ok=True)
            resource = {"path": "payments/shelf-a/Box/plain", "team": "payments", "name": "plain", "adopt": False}
            spec = {"name": "plain", "size": next(size), "note": "", "trouble": ""}
            kinds = {"Label": {"replaced": [], "deleted": []}, "Box": {"replaced": [], "deleted": []}}
            kinds["Box"]["replaced"] = [{**resource, "managed": True, "spec": spec}]
            system = {"name": "shelf-a", "connection": {"directory": str(yard.directory / "shelf-a")}}
            (attempt / "item.json").write_text(json.dumps({"system": system, "kinds": kinds}))
            (attempt / "secrets.json").write_text(json.dumps({"system": {}, "resources": {}}))
            (attempt / "events").touch()
            folder = CATALOG / "shelf"
            command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "system,", "-c", "local"]
            command += ["-e", json.dumps({"mergeyard_dir": str(attempt)}), str(folder / "apply.yml")]
            environment = {"ANSIBLE_ACTION_PLUGINS": str(folder / "plugins" / "action"), "PATH": os.environ["PATH"]}
            environment |= {"HOME": str(attempt), "ANSIBLE_GATHERING": "explicit"}
            began = time.monotonic()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            return time.monotonic() - began

        ways = {
            "run, warm sandbox": lambda: run(warm=True),
            "run, cold sandbox": lambda: run(warm=False),
            "run, not contained": lambda: run(warm=False, contained=False),
            "ansible-playbook alone": plain,
        }
        seconds = {name: [] for name in ways}
        for way in ways.values():
            way()  # not counted: what is read for the first time
        for _ in range(options.rounds):
            for name, way in ways.items():
                seconds[name].append(way())
    ours = statistics.median(seconds["run, warm sandbox"])
    print("| | median, s | least | most | against the warm run |\n| --- | --- | --- | --- | --- |")
    for name, took in seconds.items():
        median = statistics.median(took)
        print(f"| {name} | {median:.3f} | {min(took):.3f} | {max(took):.3f} | {median / ours:.1f} |")


if __name__ == "__main__":
    main()
