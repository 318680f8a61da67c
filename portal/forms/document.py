"""The form of a whole document: its spec, its secrets' references, what it depends on, when it ends.

Turns a posted form and the document it was drawn from into the next document, and a document into sections to draw.
A secret's value never enters the document: what is no allowed reference is refused here, before anything is stored.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from changes.documents import Json
from changes.secret_refs import example, is_under, is_writable
from portal.forms.posted import Action, Posted, Reader, Typed, only_blank, plain
from portal.forms.shapes import MISSING, Missing, Schema, Value
from portal.forms.tree import Choices, Drawing, Field, flat, no_choices

DEPENDS_ON: Schema = {
    "type": "array",
    "title": "Apply after",
    "description": "Documents that must be on their systems before this one. What the fields above refer to is waited"
    " for anyway.",
    "items": {"type": "string", "title": "Document", "x-choices": "documents"},
}
EXPIRES: Schema = {
    "type": "string",
    "format": "date",
    "title": "Needed until",
    "description": "The day until which it is needed. Leave it empty if there is no such day.",
}


ADOPT: Schema = {
    "type": "boolean",
    "title": "Take over what exists",
    "description": "If the system has something of this name that was not made here, it is changed to what you write."
    " Otherwise it is left alone and you are told.",
}
MORE = (("depends_on", DEPENDS_ON), ("expires", EXPIRES), ("adopt", ADOPT))


class FormSecret(Protocol):
    @property
    def title(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def generate(self) -> bool: ...


class FormKind(Protocol):
    """What a form needs of a kind of the catalogue."""

    @property
    def spec_schema(self) -> Mapping[str, Json]: ...
    @property
    def secrets(self) -> Mapping[str, FormSecret]: ...
    @property
    def immutable(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    help: str
    fields: tuple[Field, ...]
    folded: bool = False  # nothing in it is set or wrong


@dataclass(frozen=True, slots=True)
class Reading:
    """A posted form read: `typed` to draw it again, `document` to write, problems by field name, where focus goes."""

    typed: dict[str, Typed]
    document: dict[str, Json]
    problems: tuple[tuple[str, str], ...]
    focus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the form of one document knows of the repository: choices, the document on main, what was found wrong."""

    choices: Choices = no_choices
    secret_prefixes: Sequence[str] = ()
    name: str = ""  # the document's own
    base: Mapping[str, Json] | None = None  # None: the document is new
    problems: Sequence[tuple[str, str]] = ()  # (document path or field name, sentence)
    lent: Mapping[str, str] = field(default_factory=dict)


def read_post(
    kind: FormKind, old: Mapping[str, Json], posted: Posted, *, prefixes: Sequence[str], name: str = ""
) -> Reading:
    """The document that the posted form makes of `old`; keys the form does not know stay as they are.

    A secret that is to be generated and has no place yet gets one after the document's `name`.
    """
    action = Action.parse(posted.getlist("do")[-1]) if "do" in posted else None
    reader = Reader(posted, kind.spec_schema, action)
    typed: dict[str, Typed] = dict(old)
    _set(typed, "spec", reader.read(kind.spec_schema, old.get("spec", {}), "spec", required=True))
    for key, schema in MORE:
        _set(typed, key, reader.read(schema, old.get(key, MISSING), key))
    _set(typed, "secrets", _read_secrets(kind, old.get("secrets", MISSING), reader, prefixes, name))
    document = {key: plain(value) for key, value in typed.items() if not only_blank(value)}
    return Reading(typed, document, tuple(reader.problems), reader.focus)


def _set(typed: dict[str, Typed], key: str, value: Value) -> None:
    if isinstance(value, Missing):
        typed.pop(key, None)
    else:
        typed[key] = value


def _read_secrets(kind: FormKind, old: Value, reader: Reader, prefixes: Sequence[str], document: str) -> Value:
    if not isinstance(old, dict | Missing):
        return old
    before: dict[str, Json] = old if isinstance(old, dict) else {}
    after = dict(before)
    for name, secret in kind.secrets.items():
        ref, generate = secret_parts(before.get(name))
        new_ref = reader.read({"type": "string"}, ref or MISSING, f"secrets.{name}.ref")
        wanted = reader.read({"type": "boolean"}, generate, f"secrets.{name}.generate") is True and secret.generate
        if isinstance(new_ref, str) and new_ref != ref and (said := refusal(new_ref, prefixes)):
            reader.problems.append((f"secrets.{name}.ref", said))
            new_ref = ref or MISSING
        if wanted and not new_ref:
            new_ref = suggestion(name, kind, prefixes=filter(is_writable, prefixes), document=document) or MISSING
        if (new_ref or "") == ref and wanted == generate:
            continue
        if isinstance(new_ref, str):
            after[name] = {"ref": new_ref, "generate": True} if wanted else new_ref
        elif wanted:
            after[name] = {"generate": True}  # told as incomplete by the checks
        else:
            after.pop(name, None)
    return after if after or before else old


def secret_parts(value: Json) -> tuple[str, bool]:
    """The reference and whether the worker may create it, of either way to write a secret."""
    if isinstance(value, dict):
        ref = value.get("ref")
        return (ref if isinstance(ref, str) else "", value.get("generate") is True)
    return (value if isinstance(value, str) else "", False)


def refusal(ref: str, prefixes: Sequence[str]) -> str:
    """Why this text may not be stored as a secret's reference; empty when it may. Never repeats the text."""
    if any(is_under(ref, prefix) for prefix in prefixes):
        return ""
    if not prefixes:
        return (
            "This team has no place for secrets yet: ask the platform team to add secret_prefixes to the team's file."
        )
    places = " or ".join(prefixes)
    if ref.startswith(tuple(prefixes)) or any(prefix.startswith(ref) for prefix in prefixes):
        more = ", and the name of a field after #" if any("vault:" in prefix for prefix in prefixes) else ""
        return f"Go on: {places} is followed by a name of letters, digits, dots and dashes{more}."
    return (
        f"Give the place where the value is kept, beginning with {places}, and never the value itself."
        " What you typed was not stored."
    )


def sections(kind: FormKind, typed: Mapping[str, Typed], around: Surroundings) -> tuple[Section, ...]:
    """The document's form: what it is, its secrets, and what is rarely needed."""
    drawing = Drawing(
        root=kind.spec_schema,
        choices=around.choices,
        errors=_grouped(around.problems),
        fixed={} if around.base is None else {f"spec.{path}": why for path, why in kind.immutable.items()},
        lent=around.lent,
        base=None if around.base is None else flat(dict(around.base).get("spec"), "spec"),
    )
    spec = drawing.draw(kind.spec_schema, typed.get("spec", {}), name="spec", required=True)
    found = [Section("spec", "", "", spec.children if spec.widget == "object" else (spec,))]
    if kind.secrets:
        secrets = tuple(_secret_fields(kind, typed, drawing, around))
        told = "Only where each value is kept: a worker reads it there at the moment it is needed."
        found.append(Section("secrets", "Secrets", told, secrets))
    more = tuple(drawing.draw(schema, typed.get(key, MISSING), name=key) for key, schema in MORE)
    told = "Order, end of life, and what exists already."
    folded = not any(key in typed for key, _ in MORE) and not any(each.errors for each in more)
    return (*found, Section("more", "More", told, more, folded=folded))


def _secret_fields(kind: FormKind, typed: Mapping[str, Typed], drawing: Drawing, around: Surroundings) -> "list[Field]":
    written = typed.get("secrets")
    fields = []
    for name, secret in kind.secrets.items():
        ref, generate = secret_parts(written.get(name) if isinstance(written, dict) else None)
        suggested = suggestion(name, kind, prefixes=around.secret_prefixes, document=around.name)
        stem = f"secrets.{name}"
        errors = (*drawing.errors.get(stem, ()), *drawing.errors.get(f"{stem}.ref", ()))
        place = Field(
            name=f"{stem}.ref",
            path=stem,
            widget="secret",
            title=secret.title,
            help=secret.help,
            required=secret.required,
            text=ref,
            placeholder=suggested,
            errors=errors,
            examples=(suggested,) if suggested else (),
        )
        switch = Field(
            name=f"{stem}.generate",
            path=f"{stem}.generate",
            widget="boolean",
            title="Generate it",
            help="The worker makes a strong random value there if there is none yet.",
            text="true" if generate else "false",
        )
        children = (place, switch) if secret.generate else (place,)
        fields.append(Field(name=stem, path=f"{stem}.*", widget="object", title=secret.title, children=children))
    return fields


def suggestion(name: str, kind: FormKind, *, prefixes: Iterable[str], document: str) -> str:
    """A place for one of a document's secrets under the first prefix that has room for it; empty if none has."""
    only = len(kind.secrets) == 1
    found = (example(prefix, name=document, field=name, only=only) for prefix in prefixes)
    return next(filter(None, found), "")


def _grouped(problems: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    grouped: dict[str, tuple[str, ...]] = {}
    for where, message in problems:
        if message not in grouped.get(where, ()):
            grouped[where] = (*grouped.get(where, ()), message)
    return grouped


def structure(drawn: Sequence[Section]) -> str:
    """Changes when the form must be drawn anew; equal while only values and errors differ."""
    parts = [[each.structure for each in section.fields] for section in drawn]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
