"""Owns the files with which a play reaches its system by SSH: the key and the one host key that is believed.

They lie in the attempt's own directory and go with it. The next play of the book connects with them. What is wrong
with them is remembered instead of failing here, so that every resource of that play gets its result.
"""

from __future__ import annotations

import os
import re
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import plain, read_secrets  # noqa: E402
from ansible.module_utils.mergeyard.reaching import remember  # noqa: E402
from ansible.plugins.action import ActionBase  # noqa: E402

HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")
HOST_KEY = re.compile(r"(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/]{40,2000}={0,2}")


class ActionModule(ActionBase):  # type: ignore[misc]
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        directory = str((task_vars or {})["mergeyard_dir"])
        system = plain(self._task.args)["system"]
        key = str(read_secrets(directory)["system"].get("ssh_key") or "")
        if not HOST.fullmatch(str(system["host"])) or not HOST_KEY.fullmatch(str(system["host_key"])):
            remember(directory, "The system's host or host key is not one; correct its connection.")
            return {**result, "changed": False}
        if not key:
            remember(directory, f"The secret ssh_key, with which {system['host']} is reached, could not be read.")
            return {**result, "changed": False}
        folder = os.path.join(directory, "ssh")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        known = f"[{system['host']}]:{int(system['port'])} {system['host_key']}\n"
        if int(system["port"]) == 22:
            known = f"{system['host']} {system['host_key']}\n"
        for name, content in (("key", key.rstrip("\n") + "\n"), ("known_hosts", known)):
            descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
        return {**result, "changed": False}
