"""Owns what HAProxy's kinds add to their files: what the running worker does otherwise, and what must be there first.

A route's pool must be, and the address of a server's name while it is new: HAProxy itself takes a name without one, so
that a name that is gone holds up nobody else. How a file is read and written is haproxy_routes', how HAProxy is asked
is haproxy_balancer's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible.module_utils.haproxy_balancer import MAP, Balancer  # type: ignore[import-not-found]
from ansible.module_utils.haproxy_names import KNOWN, WHY, looked_up  # type: ignore[import-not-found]
from ansible.module_utils.haproxy_pool import POOL, place_of  # type: ignore[import-not-found]
from ansible.module_utils.haproxy_routes import Pools, Routes, backend_for, map_key  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.checked_files import CheckedFiles, content_of  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import Found, Outcome  # type: ignore[import-not-found]

NOT_LOADED = "the running balancer has not loaded it"


def addresses(spec: Any) -> list[str]:
    return [server["address"] for server in (spec or {}).get("servers", [])]


class BalancerFiles(CheckedFiles):  # type: ignore[misc]
    """The files of one kind, read together with what the worker was told since it loaded them."""

    server: Balancer

    def seen(self, name: str, found: Found) -> Found:
        spec: dict[str, Any] = found.spec
        if "servers" not in spec:
            return found
        running = self.server.running.get(name)
        if running is None:
            return replace(found, remarks=(*found.remarks, NOT_LOADED)) if found.marker else found
        servers = [
            told.shows(server) if (told := running.get(place_of(server))) else server for server in spec["servers"]
        ]
        lost = [server for server in spec["servers"] if (told := running.get(place_of(server))) and told.lost]
        looked = looked_up(server["address"] for server in lost)
        back = [server["address"] for server in lost if looked[server["address"]] == KNOWN]
        remarks = [f"{name} has an address again, which the running balancer does not know" for name in back]
        return replace(found, spec={**spec, "servers": servers}, remarks=(*found.remarks, *remarks))

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        new = [(one, {*addresses(one.after)} - {*addresses(one.before)}) for one in outcomes if one.changed]
        looked = looked_up(name for _, names in new for name in names)
        for outcome, names in new:
            if gone := [name for name in sorted(names) if looked[name] != KNOWN]:
                outcome.fail(f"servers: {gone[0]} {WHY[looked[gone[0]]]}")
        super().write(outcomes, check=check)


class RouteFiles(BalancerFiles):
    def __init__(self, connection: dict[str, Any]) -> None:
        super().__init__(Balancer(connection), Routes())
        self.coming = {str(name) for name in connection.get("coming", [])}

    def seen(self, name: str, found: Found) -> Found:
        found = super().seen(name, found)
        key, backend = map_key(name), backend_for(name, content_of(self.server, name) or "")
        remarks = list(found.remarks)
        if found.marker and self.server.mapped.get(key) != backend:
            remarks.append(f"{MAP} does not send requests to it")
        elif found.marker and self.server.sends is not None and self.server.sends.get(key) != backend:
            remarks.append("the running balancer does not send requests to it")
        return replace(found, remarks=tuple(remarks))

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        """In check mode a pool that the same work brings is not there yet."""
        coming = self.coming if check else set()
        for outcome in outcomes:
            pool = (outcome.after or {}).get("pool")
            if outcome.changed and pool and pool not in coming and content_of(self.server, f"{POOL}{pool}") is None:
                outcome.fail(f"Its pool {pool} is not on the balancer.")
        super().write(outcomes, check=check)


class PoolFiles(BalancerFiles):
    def __init__(self, connection: dict[str, Any]) -> None:
        super().__init__(Balancer(connection), Pools())
        self.routes: list[list[str]] = connection.get("routes", [])  # host, path, pool or none
        self.gone: list[list[str]] = connection.get("gone", [])

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        """In check mode the routes of the same work are still as they were."""
        sends = {**self.server.wanted_map(), **(self.sends_then() if check else {})}
        used = {backend: key for key, backend in sends.items() if backend}
        for outcome in outcomes:
            route = used.get(self.form.name_of(outcome.resource.spec)) if outcome.changed else None
            if route and outcome.after is None:
                outcome.fail(f"The route {route.rstrip('/')} still sends its requests there.")
        super().write(outcomes, check=check)

    def sends_then(self) -> dict[str, str]:
        """Where the map sends what the same work has to do with; empty for a route that goes."""
        names = {Routes().name_of({"host": host, "path": path}): pool for host, path, pool in self.routes}
        gone = [Routes().name_of({"host": host, "path": path}) for host, path, _ in self.gone]
        sends = {map_key(name): POOL + pool if pool else name for name, pool in names.items()}
        return {**{map_key(name): "" for name in gone}, **sends}
