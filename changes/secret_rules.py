"""Checks of secret references: known names, allowed places, nothing required left out. Pure; no value is ever seen."""

from collections.abc import Iterable, Iterator

from changes.documents import Document, SecretRef, did_you_mean, join
from changes.kinds import Kind, SecretField
from changes.schema import line_of
from changes.secret_refs import example, is_under, is_writable
from changes.violations import Change, Violation, at


def document_secrets(change: Change) -> Iterator[Violation]:
    for _, document in change.documents():
        kind = change.catalog.kinds.get(document.address.kind)
        if kind:
            yield from _names(change, document, kind)
            for name, secret in document.secrets.items():
                yield from _place(change, document, name, secret)


def _names(change: Change, document: Document, kind: Kind) -> Iterator[Violation]:
    for name, secret in document.secrets.items():
        where = join("secrets", name)
        if name not in kind.secrets:
            message = f"{kind.title} has no secret {name!r}{did_you_mean(name, kind.secrets)}"
            yield at(document, where, "secrets.unknown", message, "Remove the line, or correct the name.")
        elif secret.generate and not kind.secrets[name].generate:
            message = f"The secret {name!r} cannot be generated."
            fix = "Remove 'generate: true' and put the value where the reference points."
            yield at(document, where, "secrets.generate", message, fix)
        elif secret.generate and not is_writable(secret.ref):
            message = f"{secret.ref} cannot be written to, so nothing can be generated there."
            places = sorted({prefix.partition(":")[0] for prefix in filter(is_writable, _prefixes(change, document))})
            fix = f"Use a {': or '.join(places) or 'file'}: reference, or remove 'generate: true'."
            yield at(document, where, "secrets.generate", message, fix)
    for name in _missing(kind.secrets.values(), document.secrets):
        message = f"The secret {name!r} is missing."
        found = (
            example(prefix, name=document.address.name, field=name, only=len(kind.secrets) == 1)
            for prefix in _prefixes(change, document)
        )
        like = next(filter(None, found), f"file:{document.address.team}/{document.address.name}")
        fix = f"Add a reference under secrets, like '{name}: {like}'."
        yield at(document, "secrets", "secrets.missing", message, fix)


def _place(change: Change, document: Document, name: str, secret: SecretRef) -> Iterator[Violation]:
    prefixes = _prefixes(change, document)
    if not any(is_under(secret.ref, prefix) for prefix in prefixes):
        message = f"{document.address.team} may not use {secret.ref}."
        allowed = ", ".join(prefixes)
        fix = f"Use a reference under {allowed}." if allowed else "Ask the platform team for a prefix for your team."
        yield at(document, join("secrets", name), "secrets.prefix", message, fix)


def _prefixes(change: Change, document: Document) -> tuple[str, ...]:
    """Those that main gives a document's team; a new team brings its own."""
    team = change.base.teams.get(document.address.team) or change.head.teams.get(document.address.team)
    return team.secret_prefixes if team else ()


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
            elif not any(is_under(ref, prefix) for prefix in change.system_secrets):
                message = f"{ref} is not a place a system's secret may be read from."
                fix = f"Use a reference under {' or '.join(change.system_secrets)}."
                yield Violation("secrets.prefix", message, item.path, field, line, fix)
        for name in _missing(type.secrets.values(), system.secrets):
            line = line_of("secrets", system.lines)
            fix = f"Add a reference under secrets, like '{name}: file:{system.name}'."
            yield Violation("secrets.missing", f"The secret {name!r} is missing.", item.path, "secrets", line, fix)


def _missing(wanted: Iterable[SecretField], given: Iterable[str]) -> list[str]:
    names = set(given)
    return [secret.name for secret in wanted if secret.required and secret.name not in names]
