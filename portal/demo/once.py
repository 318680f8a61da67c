"""`bin/demo --once`: the main job from request to system and back, by the demo's own people, over HTTP."""

import time
from string import Template
from typing import Any

import yaml

from changes.catalog import catalog
from changes.documents import Address, Document, parse_document
from playbooks.servers import Testbed
from portal.demo import content
from portal.demo.browser import Person
from portal.demo.home import CannotStart, Home
from portal.demo.screen import Screen
from portal.demo.servers import testbed


def main_job(home: Home, *, beds: dict[str, Testbed], screen: Screen) -> int:
    """0 if every step held; a step that did not raises CannotStart with what was seen."""
    begin = time.monotonic()
    given = content.given(beds)
    scenario = yaml.safe_load((content.STATE.parent / "scenario.yml").read_text())
    people: dict[str, Person] = {}
    documents: dict[str, Document] = {}
    for request in scenario:
        screen.say(f"\n{request['title']}")
        texts = {path: Template(text).substitute(given) for path, text in request.get("files", {}).items()}
        documents |= {path: parse_document(path, text.encode()) for path, text in texts.items()}
        for username in [request["by"], *request["approved_by"]]:
            if username not in people:
                people[username] = Person(username, home)
        change = _ask(request, texts, people=people, screen=screen)
        _approve_and_merge(request, change, people=people, screen=screen)
        with screen.step("applied to the systems") as more:
            more.append(people[request["by"]].wait_until_applied(change))
            if more[-1] != "succeeded":
                raise CannotStart(
                    f"The rollout of {change} ended as {more[-1]}; see {home.address}{change}?tab=rollout"
                )
        for path in [*texts, *request.get("delete", [])]:
            _look(documents[path], beds, gone=path not in texts, screen=screen)
    screen.say(f"\nAll of it held, in {time.monotonic() - begin:.1f} s.")
    return 0


def _ask(request: dict[str, Any], texts: dict[str, str], *, people: dict[str, Person], screen: Screen) -> str:
    person = people[request["by"]]
    with screen.step(f"{request['by']} asks") as more:
        draft = person.start_request()
        for path, text in texts.items():
            person.write(draft, path, text)
        for path in request.get("delete", []):
            person.delete(draft, path)
        person.propose(draft, title=request["title"], reason=request["reason"])
        more.append(draft)
        more.append(f"{len(texts) or len(request['delete'])} files")
    return draft


def _approve_and_merge(request: dict[str, Any], change: str, *, people: dict[str, Person], screen: Screen) -> None:
    with screen.step(f"{request['by']} may not approve it"):
        if people[request["by"]].approve(change):
            raise CannotStart(f"{request['by']}, who asked for {change}, could approve it.")
    for username in request["approved_by"]:
        with screen.step(f"{username} approves") as more:
            if not (count := people[username].approve(change)):
                raise CannotStart(f"{username} had nothing to approve on {change}: {people[username].said()}")
            more.append(f"{count} items")
    with screen.step("merged"):
        people[request["by"]].merge(change)


def _look(document: Document, beds: dict[str, Testbed], *, gone: bool, screen: Screen) -> None:
    """With the system's own client, not with our modules."""
    address: Address = document.address
    bed, kind = beds[address.system], catalog().kinds[address.kind]
    wanted = kind.complete(document.spec, address.name)
    with screen.step(f"{bed.title.split(' (')[0]} says: {address.name}") as more:
        seen = testbed(kind.type).read(bed, kind.name, wanted)
        if gone:
            if seen is not None:
                raise CannotStart(f"{address} is still there: {seen}")
            more.append("is gone")
            return
        if seen is None:
            raise CannotStart(f"{address} is not there.")
        if differs := {name: seen[name] for name in seen.keys() & wanted.keys() if not _same(seen[name], wanted[name])}:
            raise CannotStart(f"{address} differs from its document: {differs}")
        more.append("is there as asked")


def _same(seen: Any, wanted: Any) -> bool:
    """Mappings by the keys of both: a client tells more than a document says."""
    if isinstance(seen, dict) and isinstance(wanted, dict):
        return all(_same(seen[key], wanted[key]) for key in seen.keys() & wanted.keys())
    if isinstance(seen, list) and isinstance(wanted, list):
        return len(seen) == len(wanted) and all(map(_same, seen, wanted))
    return bool(seen == wanted)
