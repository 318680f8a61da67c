"""Owns DNS record sets: DnsRecord specs to and from what a zone holds, each change one signed update.

An update holds the record set and its mark, and requires what was read to be there still, so it is done whole or not
at all. The marks of a name stand in text records of a name below it, one value for each type: a CNAME may have nothing
beside itself, but names below it. What a record takes the place of, as the same work deletes it, leaves in the same
update or stays, so the name never answers nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

import dns.rdataset  # noqa: E402
import dns.update  # noqa: E402
from ansible.module_utils.dns_records import (  # noqa: E402
    MARK_TTL,
    TYPES,
    ZONE,
    absolute,
    dataset_of,
    mark_name,
    mark_of,
    must_be_name,
    values_of,
)
from ansible.module_utils.dns_server import Content, DnsServer, ZoneTrouble  # noqa: E402
from ansible.module_utils.mergeyard.action import ResourceAction, plain  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    SystemDown,
    shown,
)

Place = tuple[str, str, str]  # zone, name, type
MOST_TOGETHER = 100
MOST_BYTES = 50_000  # an update may have 65,535
STAYS = "It is still there, as the record that takes its place was refused; correct that one."


def parts(outcomes: list[Outcome]) -> Iterator[list[Outcome]]:
    """The outcomes in groups that fit into one update."""
    part: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        weight = weight_of(outcome)
        if part and (size + weight > MOST_BYTES or len(part) == MOST_TOGETHER):
            yield part
            part, size = [], 0
        part.append(outcome)
        size += weight
    if part:
        yield part


def weight_of(outcome: Outcome) -> int:
    """No fewer bytes than it takes in an update: its values before and after, and what surrounds them."""
    specs: list[Any] = [spec for spec in (outcome.before, outcome.after) if spec]
    values = [value for spec in specs for value in spec["values"]]
    around = 40 + sum(len(str(outcome.resource.spec[name])) for name in ("zone", "name"))
    return sum(map(len, values)) + around * (len(values) + 6) + len(outcome.resource.path)


def spec_of(zone: str, name: str, dataset: dns.rdataset.Rdataset, sort: str) -> Spec:
    return {"zone": zone, "name": name, "type": sort, "values": values_of(dataset), "ttl": int(dataset.ttl)}


class ActionModule(ResourceAction):  # type: ignore[misc]
    KIND = "DnsRecord"
    IDENTITY = ("zone", "name", "type")

    def open(self) -> None:
        self.server = DnsServer(self.connection, str(self.system_secrets.get("tsig_key") or ""))
        self.zones = [str(zone) for zone in self.connection["zones"]]
        self.contents: dict[str, Content] = {}
        self.trouble: dict[str, str] = {}
        self.planned: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.replacing: dict[Place, list[Place]] = {}
        leaving, coming = (map(Resource.of, plain(self._task.args).get(name) or []) for name in ("leaving", "config"))
        self.leaving = {resource.identity(self.IDENTITY): resource.path for resource in leaving}
        self.coming = {tuple(map(str, resource.identity(self.IDENTITY))) for resource in coming}

    def close(self) -> None:
        self.server.close()

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        names: dict[str, list[str]] = defaultdict(list)
        for resource in resources:
            if not self.refusal(resource):
                names[str(resource.spec["zone"])].append(str(resource.spec["name"]))
        for zone, wanted in names.items():
            try:
                self.server.must_take_updates(zone)
                self.contents[zone] = self.server.content(zone, dict.fromkeys(wanted))
            except ZoneTrouble as trouble:
                self.trouble[zone] = f"BIND refuses the zone {zone}: {trouble}."
        return {place: found for zone in self.contents for place, found in self.found(zone)}

    def gather(self) -> list[Found]:
        for zone in self.zones:
            try:
                self.contents[zone] = self.server.transferred(zone)
            except ZoneTrouble as trouble:
                raise SystemDown(
                    f"The records of {zone} cannot be listed, as BIND at {self.server.host}:{self.server.port} refuses "
                    f"its transfer: {trouble}."
                ) from trouble
        return [found for zone in self.zones for _, found in sorted(self.found(zone), key=lambda item: item[0])]

    def found(self, zone: str) -> Iterator[tuple[Place, Found]]:
        content = self.contents[zone]
        for (name, sort), dataset in content.sets.items():
            marks = content.marks.get((name, sort))
            yield (zone, name, sort), Found(spec_of(zone, name, dataset, sort), marks[0][0] if marks else None)

    def refusal(self, resource: Resource) -> str:
        """Why nothing is done to a resource, whatever the zone holds; empty if there is no reason."""
        zone, name, sort = map(str, resource.identity(self.IDENTITY))
        if zone not in self.zones or not ZONE.fullmatch(zone):
            return f"zone: {shown(zone)} is none of the zones that are managed on this system."
        if sort not in TYPES:
            return f"type: {shown(sort)} is none of {', '.join(TYPES)}."
        try:
            must_be_name(name, zone, self.zones)
        except Refused as refused:
            return str(refused)
        return self.trouble.get(zone, "")

    def pair(self, outcome: Outcome, found: Found | None, state: str) -> None:
        if refusal := self.refusal(outcome.resource):
            outcome.fail(refusal)
            return
        super().pair(outcome, found, state)
        place = outcome.resource.identity(self.IDENTITY)
        if outcome.changed and outcome.resource.leaving and self.makes_room_for_nothing(place):
            outcome.fail(STAYS)
        if outcome.changed and place in self.replacing:
            types = " and ".join(sort for _, _, sort in self.replacing[place])
            outcome.reasons.append(f"it takes the place of the {types} record of that name, which is deleted")

    def makes_room_for_nothing(self, place: Place) -> bool:
        """Whether what was to take the place of a record that leaves was refused here. Those that leave come last."""
        *at, sort = place
        wanted = any("CNAME" in (sort, other) for (*where, other) in self.coming if where == at)
        return wanted and not any(place in places for places in self.replacing.values())

    def after(self, resource: Resource, found: Found | None) -> Spec:
        zone, name, sort = place = resource.identity(self.IDENTITY)
        dataset = dataset_of(str(sort), resource.spec["values"], resource.spec["ttl"])
        self.must_be_alone(place)
        self.planned[zone, name].add(sort)
        return spec_of(str(zone), str(name), dataset, str(sort))

    def must_be_alone(self, place: Place) -> None:
        """A CNAME may have no other type beside it. BIND ignores, without a word, an update that would break that."""
        zone, name, sort = place
        there = self.contents[zone].types.get(name, set()) | self.planned[zone, name]
        there -= {other for left in self.replacing.values() for (*at, other) in left if at == [zone, name]}
        beside = sorted(other for other in there - {sort} if "CNAME" in (sort, other))
        if not beside:
            return
        if staying := [other for other in beside if not self.leaves((zone, name, other))]:
            raise Refused(
                f"There is a record of type {staying[0]} for this name, and a CNAME may have nothing beside it; choose "
                "another name, or delete that record in the same request."
            )
        self.replacing[place] = [(zone, name, other) for other in beside]

    def leaves(self, place: Place) -> bool:
        """Whether the same work deletes it, and may."""
        zone, name, sort = place
        marks = self.contents[zone].marks.get((name, sort))
        return bool(marks) and self.leaving.get(place) == marks[0][0] and sort not in self.planned[zone, name]

    def settle(self, outcomes: list[Outcome], state: str) -> Iterator[Outcome]:
        """In check mode too the server is asked whether the key may do it, which can differ from record to record."""
        settled = super().settle(outcomes, state)
        if not self.check:
            yield from settled
            return
        told = list(settled)
        changed = [outcome for outcome in told if outcome.changed]
        try:
            for outcome, failure in self.brought(changed, dry=True):
                if failure:
                    outcome.fail(failure)
        except SystemDown as down:
            list(self.all_failed(changed, str(down)))
        yield from told

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        yield from self.brought(outcomes, dry=False)

    def brought(self, outcomes: list[Outcome], *, dry: bool) -> Iterator[tuple[Outcome, str]]:
        """Each on its own account, but what is replaced goes or stays with what takes its place."""
        takers = {place: taker for taker, places in self.replacing.items() for place in places}
        places = [(outcome.resource.identity(self.IDENTITY), outcome) for outcome in outcomes]
        came = set()
        for outcome, failure in self.updated([one for place, one in places if place not in takers], dry=dry):
            if not failure:
                came.add(outcome.resource.identity(self.IDENTITY))
            yield outcome, failure
        for place, outcome in places:
            if place in takers:
                yield outcome, "" if takers[place] in came else STAYS

    def updated(self, outcomes: list[Outcome], *, dry: bool) -> Iterator[tuple[Outcome, str]]:
        """Many in one update, as the server writes each to its disk; if it refuses one, each of them alone."""
        by_zone: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            by_zone[str(outcome.resource.spec["zone"])].append(outcome)
        for zone, group in by_zone.items():
            for part in parts(group):
                failure = self.refused(zone, part, dry=dry)
                for outcome in part:
                    alone = failure and len(part) > 1
                    yield outcome, self.refused(zone, [outcome], dry=dry) if alone else failure

    def refused(self, zone: str, outcomes: list[Outcome], *, dry: bool) -> str:
        update = self.server.trial(zone) if dry else self.server.update(zone)
        for outcome in outcomes:
            self.put(update, outcome)
        try:
            failure = self.server.send(update, dry=dry)
        except ZoneTrouble as trouble:
            failure = str(trouble)
        return f"BIND refused it: {failure}." if failure else ""

    def put(self, update: dns.update.UpdateMessage, outcome: Outcome) -> None:
        zone, name, sort = place = outcome.resource.identity(self.IDENTITY)
        leaving = self.replacing.get(place, [])
        for each in leaving if outcome.before is None else [*leaving, place]:
            self.require_as_read(update, each)
        if outcome.before is None:
            update.absent(absolute(name, zone), sort)
            if sort == "CNAME" and not leaving:
                update.absent(absolute(name, zone))
            elif sort != "CNAME" and not leaving:
                update.absent(absolute(name, zone), "CNAME")
        for each in [*leaving, place]:
            self.remove(update, each)
        if outcome.after is not None:
            values: Any = outcome.after
            update.add(absolute(name, zone), dataset_of(sort, values["values"], values["ttl"]))
            update.add(absolute(mark_name(name), zone), MARK_TTL, mark_of(sort, outcome.resource.path))

    def require_as_read(self, update: dns.update.UpdateMessage, place: Place) -> None:
        zone, name, sort = place
        update.present(absolute(name, zone), *self.contents[zone].sets[name, sort])

    def remove(self, update: dns.update.UpdateMessage, place: Place) -> None:
        zone, name, sort = place
        update.delete(absolute(name, zone), sort)
        for _, mark in self.contents[zone].marks.get((name, sort), []):
            update.delete(absolute(mark_name(name), zone), mark)
