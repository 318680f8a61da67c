"""Owns the sentence of why a system's host was not reached by SSH, and keeps it for the other calls of a play.

Without it each kind of a host that is down would wait for it again. It must not know kinds or Ansible.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

NO_SUDO = re.compile(r"(Missing|Incorrect) sudo password|sudo: .*(password|sudoers)")  # not a path with such a word
CAUSE = re.compile(r"(?:port \d+|hostname [^:\s]+): ([^\r\n]+)")


def sentence(said: str, connection: Mapping[str, object]) -> str:
    """One sentence out of what the ssh program said; the host's own words are never passed on as they are."""
    host = f"{connection.get('host')} port {connection.get('port')}"
    if "Host key verification failed" in said or "HOST IDENTIFICATION HAS CHANGED" in said:
        return (
            f"The host key of {host} is not the one in the system's connection, so nothing was sent to it; "
            "find out why before you correct the connection."
        )
    if "Permission denied" in said:
        return f"{host} does not let the user {connection.get('user')} in with the system's secret ssh_key."
    if NO_SUDO.search(said):
        return f"The user {connection.get('user')} may not use sudo without a password on {host}."
    found = CAUSE.search(said)
    cause = found[1].strip().rstrip(".").lower() if found else "the connection was closed"
    cause = "".join(character for character in cause if character.isprintable())[:80]
    return f"The host does not answer by SSH at {host}: {cause}."


def remember(directory: str, why: str) -> None:
    with open(os.path.join(directory, "unreachable"), "w", encoding="utf-8") as file:
        file.write(why)


def remembered(directory: str) -> str:
    """Why an earlier call of this play did not reach the host; empty if none failed."""
    try:
        with open(os.path.join(directory, "unreachable"), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""
