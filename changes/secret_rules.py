"""Checks of secret references: known names, allowed places, nothing required left out. Pure; no value is ever seen."""

import re
from collections.abc import Iterable, Iterator

from changes.documents import Document, SecretRef, did_you_mean, join
from changes.kinds import Kind, SecretField
from changes.schema import line_of
from changes.violations import Change, Violation, at

SYSTEM_REFERENCE = re.compile(r"env:MERGEYARD_SECRET_[A-Z0-9_]+|file:.+", re.ASCII)


def document_secrets(change: Change) -> Iterator[Violation]:
    for _, document in change.documents():
        kind = change.catalog.kinds.get(document.address.kind)
        if kind:
            yield from _names(document, kind)
            for name, secret in document.secrets.items():
                yield from _place(change, document, name, secret)


def _names(document: Document, kind: Kind) -> Iterator[Violation]:
    for name, secret in document.secrets.items():
        where = join("secrets", name)
        if name not in kind.secrets:
            message = f"{kind.title} has no secret {name!r}{did_you_mean(name, kind.secrets)}"
            yield at(document, where, "secrets.unknown", message, "Remove the line, or correct the name.")
        elif secret.generate and not kind.secrets[name].generate:
            message = f"The secret {name!r} cannot be generated."
            fix = "Remove 'generate: true' and put the value where the reference points."
            yield at(document, where, "secrets.generate", message, fix)
        elif secret.generate and not secret.ref.startswith("file:"):
            message = f"{secret.ref} cannot be written to, so nothing can be generated there."
            yield at(document, where, "secrets.generate", message, "Use a file: reference, or remove 'generate: true'.")
    for name in _missing(kind.secrets.values(), document.secrets):
        message = f"The secret {name!r} is missing."
        fix = f"Add a reference under secrets, like '{name}: file:{document.address.team}/{document.address.name}'."
        yield at(document, "secrets", "secrets.missing", message, fix)


def _place(change: Change, document: Document, name: str, secret: SecretRef) -> Iterator[Violation]:
    """A document's reference lies under the prefixes that main gives its team; a new team brings its own."""
    team = change.base.teams.get(document.address.team) or change.head.teams.get(document.address.team)
    prefixes = team.secret_prefixes if team else ()
    if not any(is_under(secret.ref, prefix) for prefix in prefixes):
        message = f"{document.address.team} may not use {secret.ref}."
        allowed = ", ".join(prefixes)
        fix = f"Use a reference under {allowed}." if allowed else "Ask the platform team for a prefix for your team."
        yield at(document, join("secrets", name), "secrets.prefix", message, fix)


def is_under(ref: str, prefix: str) -> bool:
    """Whether a reference is the prefix or lies below it; `file:pay` is not above `file:payments/x`."""
    border = "_" if prefix.startswith("env:") else "/"
    return ref == prefix or ref.startswith(prefix if prefix.endswith(border) else prefix + border)


def system_secrets(change: Change) -> Iterator[Violation]:
    for item in change.plan.others:
        folder, _, file = item.path.partition("/")
        system = change.head.systems.get(file.removesuffix(".yml")) if folder == "systems" else None
        type = change.catalog.types.get(system.type) if system else None
        if system is None or type is None:
            continue
        for name, ref in system.secrets.items():
            field = join("secrets", name)
            line = line_of(field, system.lines)
            if name not in type.secrets:
                message = f"A system of type {type.name} has no secret {name!r}{did_you_mean(name, type.secrets)}"
                yield Violation("secrets.unknown", message, item.path, field, line, "Remove it, or correct the name.")
            elif not SYSTEM_REFERENCE.fullmatch(ref):
                message = f"{ref} is not a place a system's secret may be read from."
                fix = "Use env:MERGEYARD_SECRET_<NAME> or file:<name>."
                yield Violation("secrets.prefix", message, item.path, field, line, fix)
        for name in _missing(type.secrets.values(), system.secrets):
            line = line_of("secrets", system.lines)
            fix = f"Add a reference under secrets, like '{name}: file:{system.name}'."
            yield Violation("secrets.missing", f"The secret {name!r} is missing.", item.path, "secrets", line, fix)


def _missing(wanted: Iterable[SecretField], given: Iterable[str]) -> list[str]:
    names = set(given)
    return [secret.name for secret in wanted if secret.required and secret.name not in names]
