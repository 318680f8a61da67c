"""The process between worker and play: calls ansible-runner with a clean environment and reports on its stdout.

Run as a script, `python -I runner_process.py`, with one JSON object on stdin. ansible-runner copies the environment of
its process into files that the play can read, so it must never run inside the worker. It must not import Mergeyard.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
IDENT = "run"


def end_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    end_with_parent(order["parent"])
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints goes to stderr

    def tell(**message: Any) -> None:
        report.write(json.dumps(message) + "\n")
        report.flush()

    def on_event(event: dict[str, Any]) -> bool:
        details = event.get("event_data") or {}
        tell(event=event.get("event", ""), text=event.get("stdout", ""), task=str(details.get("task") or ""))
        return False  # nothing of it is written to disk

    import ansible_runner

    result = ansible_runner.run(
        private_data_dir=order["directory"],
        playbook=order["playbook"],
        inventory=order["inventory"],
        extravars=order["variables"],
        envvars={"PATH": order["path"]},
        settings={"suppress_ansible_output": True, "pexpect_timeout": 1},
        ident=IDENT,
        quiet=True,
        suppress_env_files=True,
        event_handler=on_event,
    )
    tell(status=result.status, code=result.rc)


if __name__ == "__main__":
    main()
