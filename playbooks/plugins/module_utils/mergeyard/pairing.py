"""Owns how a resource module pairs what is wanted with what exists: before, after, reasons and refusals.

Pure, and only the standard library: it runs in action plugins and in modules that Ansible sends to other hosts.
It must not know kinds, systems, files or Ansible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Spec = dict[str, object]
Identity = tuple[object, ...]
LONGEST_SENTENCE = 1000


class SystemDown(Exception):
    """The system cannot be used at all; its text is one sentence for a person."""


class Refused(Exception):
    """This resource cannot be brought to what is wanted; its text is one sentence for a person."""


class Unsure(str):
    """Why a write failed, where the system did not say so itself: it may have been done, or be done yet."""

    __slots__ = ()


@dataclass(frozen=True)
class Resource:
    """One document as the worker hands it over: defaults applied, identity fields filled in.

    `adopt`: the document takes over what others made. `managed`: we brought it there, as far as the worker remembers.
    `leaving`: it is deleted by the call that brings others, which may need its place.
    """

    path: str
    spec: Spec
    adopt: bool = False
    managed: bool = False
    leaving: bool = False

    @classmethod
    def of(cls, item: Mapping[str, object]) -> Resource:
        spec = item["spec"]
        if not isinstance(spec, dict):
            raise TypeError("a resource's spec is a mapping")
        flags = (item.get(name) is True for name in ("adopt", "managed", "leaving"))
        return cls(str(item["path"]), spec, *flags)

    def identity(self, fields: tuple[str, ...]) -> Identity:
        return tuple(self.spec.get(name) for name in fields)


@dataclass(frozen=True)
class Found:
    """What exists on the system. `remarks` are differences from the merged state that a spec cannot show."""

    spec: Spec
    marker: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What happens, or would happen, to one resource."""

    resource: Resource
    before: Spec | None = None
    after: Spec | None = None
    reasons: list[str] = field(default_factory=list)
    changed: bool = False
    failure: str = ""

    def fail(self, sentence: str) -> None:
        if len(sentence) > LONGEST_SENTENCE:  # some systems repeat all that they were given
            sentence = f"{sentence[: LONGEST_SENTENCE - 200]} ... {sentence[-190:]}"
        self.failure, self.changed, self.after = sentence, False, self.before

    def event(self, kind: str) -> dict[str, object]:
        return {
            "event": "resource",
            "path": self.resource.path,
            "kind": kind,
            "status": "failed" if self.failure else "ok",
            "changed": self.changed,
            "before": self.before,
            "after": self.after,
            "reasons": self.reasons,
            "message": self.failure,
        }


def differences(before: object, after: object, at: str = "") -> Iterator[str]:
    """Sentences for every field that differs, nested fields by their dotted path."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*after, *(key for key in before if key not in after)]:
            where = f"{at}.{key}" if at else str(key)
            if key not in before:
                yield f"{where} is set to {shown(after[key])}"
            elif key not in after:
                yield f"{where} returns to the default, was {shown(before[key])}"
            else:
                yield from differences(before[key], after[key], where)
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield f"{at} changes from {shown(before)} to {shown(after)}"


def shown(value: object) -> str:
    """A value within a sentence, on one line and never longer than a line."""
    text = value if isinstance(value, str) and value else repr(value)
    text = "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
    return text if len(text) <= 80 else text[:77] + "..."


def reserved_key(value: object) -> str | None:
    """The first mapping key that Ansible would take for an instruction, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if str(key).startswith("__ansible"):
                return str(key)
            if found := reserved_key(inner):
                return found
    elif isinstance(value, list):
        return next((found for inner in value if (found := reserved_key(inner))), None)
    return None


def too_long(value: object, longest: int) -> str:
    """The first text with more bytes than that, at any depth; empty if there is none."""
    if isinstance(value, str):
        return value if len(value.encode(errors="replace")) > longest else ""
    inner = [*value, *value.values()] if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return next((found for each in inner if (found := too_long(each, longest))), "")


def refusal(resource: Resource, seen: set[Identity], identity: Identity, longest: int = 0) -> str:
    """Why a resource is not looked at any further, whatever its system says; empty if there is no reason.

    `longest`: how many bytes a text may have that is sent to the system; 0 where it does not matter.
    """
    if key := reserved_key(resource.spec):
        return f"The key {shown(key)} is reserved; use another one."
    if longest and (text := too_long(resource.spec, longest)):
        return f"{shown(text)} is longer than the system's {longest} bytes."
    if any(not isinstance(part, str) or not part for part in identity):
        return "The resource has no name on the system."
    if not all(str(part).isprintable() for part in identity):
        return f"{shown('/'.join(map(str, identity)))} holds characters that no name on a system may have."
    if identity in seen:
        return f"{shown('/'.join(map(str, identity)))} is named twice in this work; keep one of the documents."
    seen.add(identity)
    return ""


def pair(outcome: Outcome, found: Found | None, state: str, *, after: Callable[[], Spec], marked: bool = True) -> None:
    """Fills in what `state` does to one resource. `after`: what the system will hold, or raises Refused.

    Where a system can hold no marker (`marked` is false), what the worker remembers stands in for it.
    """
    ours = found is None or (found.marker is not None if marked else outcome.resource.managed)
    outcome.before = found.spec if found else None
    try:
        if state == "deleted" or outcome.resource.leaving:
            _deleted(outcome, found, ours=ours)
        elif ours or outcome.resource.adopt:
            _replaced(outcome, found, after(), ours=ours)
        else:
            raise Refused(NOT_OURS)
    except Refused as refused:
        outcome.fail(str(refused))


def _replaced(outcome: Outcome, found: Found | None, after: Spec, *, ours: bool) -> None:
    outcome.after = after
    if found is None:
        outcome.changed, outcome.reasons = True, ["it does not exist yet"]
        return
    outcome.reasons = [*differences(found.spec, after), *found.remarks]
    if not ours:
        outcome.reasons.append("it was made by others and is taken over")
    elif found.marker is not None and found.marker != outcome.resource.path:
        outcome.reasons.append(f"it was managed as {shown(found.marker)}")
    outcome.changed = bool(outcome.reasons)


def _deleted(outcome: Outcome, found: Found | None, *, ours: bool) -> None:
    if found is None:
        return
    if found.marker is not None and found.marker != outcome.resource.path:
        raise Refused(f"It now belongs to {shown(found.marker)}, so it is not deleted here.")
    if ours:
        outcome.changed, outcome.reasons = True, ["its document was removed"]
    elif outcome.resource.managed:
        raise Refused(UNMARKED)
    else:
        outcome.after, outcome.reasons = found.spec, ["it was made by others, so it is left alone"]


NOT_OURS = (
    "It exists on the system already and is not managed here; choose another name, or write 'adopt: true' into the "
    "document to take it over."
)
UNMARKED = (
    "It no longer carries the mark of what is managed here, so it may be somebody else's by now and is not deleted; "
    "remove it on the system by hand."
)
