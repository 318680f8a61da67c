"""Owns how routes and shared pools are files: their names, what stands in them, and where the map sends requests.

A route to a shared pool is a file of comments: the map alone sends its requests. Pure; knows no files or sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible.module_utils.haproxy_pool import (  # type: ignore[import-not-found]
    FIELDS,
    HOST,
    NAME,
    POOL,
    backend_of_pool,
    pool_lines,
    read_pool,
    valid_pool,
)
from ansible.module_utils.mergeyard.pairing import Refused, Spec  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.values import known, text  # type: ignore[import-not-found]

PATH = re.compile(r"(?=.{1,100}\Z)/([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?")
ROUTE_FILE = re.compile(r"[a-z0-9.-]+(?::[A-Za-z0-9._-]+)*")
POOL_FILE = re.compile(re.escape(POOL) + NAME.pattern)
TO_POOL = "# requests go to the pool "


def map_key(name: str) -> str:
    """What the frontend looks up, longest first. The slash at its end keeps /api from matching /apix."""
    return name.replace(":", "/") + "/"


def backend_for(name: str, content: str) -> str:
    """Where a route's file says that its requests go."""
    pools = [line.removeprefix(TO_POOL) for line in content.splitlines() if line.startswith(TO_POOL)]
    return POOL + pools[0] if pools else name


class Routes:
    """BalancerRoute as files. A path holds no colon, so a file's name can be undone."""

    def name_of(self, spec: Spec) -> str:
        host, path = text("host", spec["host"], HOST), text("path", spec.get("path", "/"), PATH)
        return host + path.rstrip("/").replace("/", ":")

    def is_name(self, name: str) -> bool:
        return bool(ROUTE_FILE.fullmatch(name))

    def valid(self, spec: Spec) -> Spec:
        given = known("spec", spec, ("host", "path", "pool", *FIELDS))
        result: Spec = {
            "host": text("host", given.get("host"), HOST),
            "path": text("path", given.get("path", "/"), PATH),
        }
        if "pool" not in given:
            return {**result, **valid_pool(given, check_host=False)}
        if own := [name for name in FIELDS if name in given]:
            raise Refused(f"{own[0]}: the shared pool says this; leave it out, or leave out the pool.")
        return {**result, "pool": text("pool", given["pool"], NAME)}

    def lines(self, spec: Spec) -> Iterator[str]:
        if "pool" in spec:
            yield f"{TO_POOL}{spec['pool']}"
        else:
            yield from pool_lines(self.name_of(spec), spec, check_host=spec["host"])

    def read(self, name: str, lines: list[str]) -> tuple[Spec, list[str]]:
        host, *parts = name.split(":")
        spec: Spec = {"host": host, "path": "/" + "/".join(parts)}
        if lines and lines[0].startswith(TO_POOL):
            return {**spec, "pool": lines[0].removeprefix(TO_POOL)}, lines[1:]
        strange = read_pool(name, lines, spec)
        spec["health_check"].pop("host", None)  # type: ignore[attr-defined]
        return spec, strange


class Pools:
    """BalancerBackend as files."""

    def name_of(self, spec: Spec) -> str:
        return str(backend_of_pool(spec))

    def is_name(self, name: str) -> bool:
        return bool(POOL_FILE.fullmatch(name))

    def valid(self, spec: Spec) -> Spec:
        given = known("spec", spec, ("name", *FIELDS))
        return {"name": text("name", given.get("name"), NAME), **valid_pool(given, check_host=True)}

    def lines(self, spec: Spec) -> Iterator[str]:
        yield from pool_lines(self.name_of(spec), spec, check_host=spec["health_check"].get("host"))  # type: ignore[attr-defined]

    def read(self, name: str, lines: list[str]) -> tuple[Spec, list[str]]:
        spec: Spec = {"name": name.removeprefix(POOL)}
        return spec, read_pool(name, lines, spec)
