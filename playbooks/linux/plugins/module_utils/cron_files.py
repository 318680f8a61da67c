"""Owns how a CronJob is written as a file of cron.d and read back from it. Pure; knows no files or users.

Everything that is written was matched against the alphabet of its place first, so no value can end a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.mergeyard.pairing import Refused, Spec, shown  # type: ignore[import-not-found]

HEADER = "# Mergeyard: "
WARNING = "# Written by Mergeyard. What is changed here by hand is undone."
DISABLED = "# not active: "
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
COMMAND = re.compile(r"[^\s\x00]([^\r\n\x00]*[^\s\x00])?")
MAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9]([A-Za-z0-9.-]{0,120}[A-Za-z0-9])?")
PART = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?")
LONGEST = 990  # bytes of a command, as cron takes it
TIMES = {"minute": (0, 59), "hour": (0, 23), "day_of_month": (1, 31), "month": (1, 12), "day_of_week": (0, 7)}
SPECIAL = ("reboot", "hourly", "daily", "weekly", "monthly", "yearly")
FIELDS = ("name", "user", "schedule", "command", "mail_to", "enabled")
JOB = re.compile(
    r"(?P<when>@\w+|\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+[ \t]+\S+)[ \t]+(?P<user>[^\s=]+)[ \t]+(?P<command>\S.*)"
)


@dataclass(frozen=True)
class Job:
    """A job's file as it is: the spec that it shows, who manages it, and what no spec can show."""

    spec: Spec
    marker: str | None
    remarks: tuple[str, ...]


def text(at: str, value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{at}: {shown(value)} cannot be written into a file of cron.")
    return value


def time(at: str, value: object, low: int, high: int) -> str:
    """One of the five fields; a step stands after * or a range only, as every cron understands it."""
    written = value if isinstance(value, str) else ""
    for part in written.split(","):
        found = PART.fullmatch(part)
        ends = [int(number) for number in found.groups()[:2] if number] if found else []
        step = int(found[3]) if found and found[3] else 1
        fits = all(low <= number <= high for number in ends) and ends == sorted(ends) and 1 <= step <= high
        if not found or not fits or (found[3] and len(ends) == 1):
            raise Refused(f"schedule.{at}: {shown(value)} is not a time from {low} to {high} as cron reads it.")
    return written


def valid_schedule(value: object) -> Spec:
    if not isinstance(value, dict) or not value:
        raise Refused("schedule: must be a usual time, or minute and hour.")
    if "special" in value:
        if [*value] != ["special"] or value["special"] not in SPECIAL:
            raise Refused(f"schedule.special: must be one of {', '.join(SPECIAL)}, and stand alone.")
        return {"special": value["special"]}
    if unknown := [key for key in value if key not in TIMES]:
        raise Refused(f"schedule: there is no field {shown(unknown[0])}.")
    if not {"minute", "hour"} <= {*value}:
        raise Refused("schedule: give minute and hour.")
    times: Spec = {name: time(name, value[name], *TIMES[name]) for name in TIMES if name in value}
    return without_stars(times)


def without_stars(times: Spec) -> Spec:
    return {name: value for name, value in times.items() if value != "*" or name in ("minute", "hour")}


def valid_command(value: object) -> str:
    command = text("command", value, COMMAND)
    if "\\%" in command:
        raise Refused("command: a backslash before a percent sign cannot be written; put the command into a script.")
    if len(escaped(command).encode()) > LONGEST:
        raise Refused(f"command: is longer than the {LONGEST} bytes that cron takes; put it into a script.")
    return command


def valid(spec: Spec) -> Spec:
    """The spec with defaults, every value fit for its place; raises Refused."""
    if unknown := [key for key in spec if key not in FIELDS]:
        raise Refused(f"There is no field {shown(unknown[0])}.")
    enabled = spec.get("enabled", True)
    if not isinstance(enabled, bool):
        raise Refused(f"enabled: must be true or false (is {shown(enabled)}).")
    result: Spec = {
        "name": text("name", spec.get("name"), NAME),
        "user": text("user", spec.get("user"), USER),
        "schedule": valid_schedule(spec.get("schedule")),
        "command": valid_command(spec.get("command")),
        "enabled": enabled,
    }
    if "mail_to" in spec:
        result["mail_to"] = text("mail_to", spec["mail_to"], MAIL)
    return result


def escaped(command: str) -> str:
    """Cron ends a command at a percent sign that has no backslash before it."""
    return command.replace("%", "\\%")


def render(spec: Spec, marker: str) -> str:
    """The file of a valid spec."""
    schedule: Any = spec["schedule"]
    special = schedule.get("special")
    when = f"@{special}" if special else " ".join(schedule.get(name, "*") for name in TIMES)
    lines = [HEADER + marker, WARNING]
    if "mail_to" in spec:
        lines.append(f"MAILTO={spec['mail_to']}")
    off = "" if spec["enabled"] else DISABLED
    lines.append(f"{off}{when} {spec['user']} {escaped(str(spec['command']))}")
    return "".join(f"{line}\n" for line in lines)


def parse(content: str, name: str) -> Job | None:
    """A job's file, read back; None if there is no job in it."""
    spec: Spec = {"name": name}
    marker, strange = None, []
    for line in content.split("\n"):
        if line.startswith(HEADER):
            marker = line.removeprefix(HEADER)
        elif found := re.fullmatch(r"MAILTO=(\S+)", line):
            spec["mail_to"] = found[1]
        elif "command" not in spec and (found := JOB.fullmatch(line.removeprefix(DISABLED))) and is_job(line):
            spec |= {"user": found["user"], "schedule": schedule_of(found["when"])}
            spec |= {"command": found["command"].replace("\\%", "%"), "enabled": not line.startswith(DISABLED)}
        elif line.strip() and line != WARNING:
            strange.append(f"this was added by hand: {shown(line)}")
    if "command" not in spec and marker is None:
        return None
    if marker is not None and not strange and not same_again(spec, marker, content):
        strange.append("its file was edited by hand")
    return Job(spec, marker, tuple(strange))


def is_job(line: str) -> bool:
    return line.startswith(DISABLED) or not line.lstrip().startswith("#")


def schedule_of(when: str) -> Spec:
    if when.startswith("@"):
        return {"special": when[1:]}
    return without_stars(dict(zip(TIMES, when.split())))  # noqa: B905 (the host may have Python 3.9)


def same_again(spec: Spec, marker: str, content: str) -> bool:
    try:
        return render(valid(spec), marker) == content
    except Refused:
        return True  # a value that we would never write differs from what is wanted, and is named by its field
