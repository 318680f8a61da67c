"""What the platform team declares: the site, teams, systems, policies.

Owns the formats of `mergeyard.yml`, `teams/`, `systems/` and `policies/`. What was written is refused or becomes a
frozen value; a key that is not supported yet is refused like any unknown one. Knows no git, Django or clock.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from changes.documents import (
    KIND,
    NAME,
    SECRET_LETTERS,
    SECRET_NAME,
    InvalidFile,
    Json,
    Problem,
    did_you_mean,
    join,
    name_message,
    read_yaml,
)
from changes.secret_refs import PREFIX, is_secret_ref

T = TypeVar("T")

FORMAT = 1
OWNERS = "owners"
DEFAULT_ZONE = "default"
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@.+_-]{0,149}", re.ASCII)
INTERVAL = re.compile(r"[1-9][0-9]{0,4}[smhd]", re.ASCII)
ON_DRIFT = ("report", "self-heal")
SITE_KEYS = ("format", "title", "platform_team", "auditors")
TEAM_KEYS = ("title", "members", "secret_prefixes", "quotas")
SYSTEM_KEYS = ("type", "title", "environment", "zone", "connection", "secrets", "owners", "drift", "limits")
POLICY_KEYS = ("id", "match", "approvals", "message")
MATCH_KEYS = ("environment", "system", "kind", "team", "type")
MAX_APPROVALS = 20


@dataclass(frozen=True, slots=True)
class Site:
    title: str
    platform_team: str
    auditors: str = ""  # the team that may read every log and output, and act on nothing


@dataclass(frozen=True, slots=True)
class Team:
    name: str
    title: str
    members: tuple[str, ...] = ()
    secret_prefixes: tuple[str, ...] = ()
    quotas: dict[str, int] = field(default_factory=dict)  # a kind -> how many documents of it the team may have


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may do to a system; None: no limit."""

    max_deletes: int | None = 5
    max_change_percent: int | None = 30


@dataclass(frozen=True, slots=True)
class System:
    """One managed installation. `secrets` are references, `owners` the teams whose approval a change needs."""

    name: str
    type: str
    title: str
    environment: str = ""
    zone: str = DEFAULT_ZONE
    connection: dict[str, Json] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    owners: tuple[str, ...] = ()
    limits: Limits = Limits()
    drift: dict[str, Json] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    from_: str  # "owners" or the name of a team
    count: int = 1


@dataclass(frozen=True, slots=True)
class Policy:
    id: str
    match: dict[str, str] = field(default_factory=dict)
    approvals: ApprovalRule | None = None
    message: str = ""


def parse_site(path: str, data: bytes) -> Site:
    keys = _mapping(path, data, SITE_KEYS)
    if keys.value.get("format") != FORMAT or isinstance(keys.value.get("format"), bool):
        keys.bad("format", f"format must be {FORMAT}, the version of the repository's layout.")
    return keys.done(Site(keys.text("title", "Mergeyard"), keys.name("platform_team"), keys.name("auditors", "")))


def parse_team(path: str, data: bytes) -> Team:
    keys = _mapping(path, data, TEAM_KEYS)
    name = keys.file_name("team", "teams/")
    members = keys.texts("members", USERNAME, "a user name: use letters, digits and @ . + - _")
    prefixes = keys.texts("secret_prefixes", PREFIX, f"a prefix of references like file:{name}/")
    for index, prefix in enumerate(prefixes):
        if ".." in prefix:
            keys.bad(join("secret_prefixes", index), "A prefix may not climb with '..'.")
    return keys.done(Team(name, keys.text("title", name), members, prefixes, _quotas(keys)))


def _quotas(keys: "_Keys") -> dict[str, int]:
    found: dict[str, int] = {}
    for kind, most in keys.mapping("quotas").items():
        if not KIND.fullmatch(kind):
            keys.bad(join("quotas", kind), f"{kind!r} is not the name of a kind.")
        elif not _is_count(most) or int(str(most)) < 0:
            keys.bad(join("quotas", kind), f"The quota of {kind} must be a whole number of documents, 0 or more.")
        else:
            found[kind] = int(str(most))
    return found


def parse_system(path: str, data: bytes) -> System:
    keys = _mapping(path, data, SYSTEM_KEYS)
    name = keys.file_name("system", "systems/")
    owners = keys.texts("owners", NAME, "the name of a team: use lower-case letters, digits, dots and dashes")
    if not owners:
        keys.bad("owners", "owners must list at least one team: they approve every change to this system.")
    return keys.done(
        System(
            name=name,
            type=keys.name("type"),
            title=keys.text("title", name),
            environment=keys.name("environment", ""),
            zone=keys.name("zone", DEFAULT_ZONE),
            connection=keys.mapping("connection"),
            secrets=_system_secrets(keys),
            owners=owners,
            limits=_limits(keys),
            drift=_drift(keys),
            lines=keys.lines,
        )
    )


def parse_policies(path: str, data: bytes) -> tuple[Policy, ...]:
    """The policies of one file, which is a list of them."""
    tree = read_yaml(data, path)
    if not isinstance(tree.value, list):
        message = "A file of policies is a list: begin each policy with '- id:'."
        raise InvalidFile(Problem("declaration.shape", message, path, 1))
    policies: list[Policy] = []
    problems: list[Problem] = []
    for index, item in enumerate(tree.value):
        keys = _Keys(path, item, tree.lines, within=str(index))
        keys.known(POLICY_KEYS)
        policy = _policy(keys)
        if policy.id in {other.id for other in policies}:
            keys.bad("id", f"The id {policy.id!r} is there twice: give each policy its own.")
        policies.append(policy)
        problems += keys.problems
    if problems:
        raise InvalidFile(*problems)
    return tuple(policies)


def _policy(keys: "_Keys") -> Policy:
    match = {}
    for key, value in keys.mapping("match").items():
        if key not in MATCH_KEYS:
            keys.bad(join("match", key), f"{key!r} is nothing a policy can match{did_you_mean(key, MATCH_KEYS)}")
        elif not isinstance(value, str) or not (KIND if key == "kind" else NAME).fullmatch(value):
            keys.bad(join("match", key), f"{key} must be a name.")
        else:
            match[key] = value
    rule = keys.inner("approvals", ("from", "count"))
    if not keys.value.get("approvals"):
        keys.bad("approvals", "approvals is missing: say {from: owners, count: 2}, or remove the policy.")
    from_, count = rule.value.get("from", OWNERS), rule.value.get("count", 1)
    if not isinstance(from_, str) or not NAME.fullmatch(from_):
        rule.bad("from", "from must be owners or the name of a team.")
    if not _is_count(count) or not 1 <= int(str(count)) <= MAX_APPROVALS:
        rule.bad("count", f"count must be a whole number from 1 to {MAX_APPROVALS}.")
        count = 1
    return Policy(keys.name("id"), match, ApprovalRule(str(from_), int(str(count))), keys.text("message", ""))


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _system_secrets(keys: "_Keys") -> dict[str, str]:
    secrets = {}
    for name, value in keys.mapping("secrets").items():
        where = join("secrets", name)
        if not SECRET_NAME.fullmatch(name):
            keys.bad(where, f"{name!r} is not the name of a secret: {SECRET_LETTERS}.")
        elif not isinstance(value, str) or not is_secret_ref(value):
            keys.bad(where, "A secret is a reference like env:MERGEYARD_SECRET_NAME or file:name, never a value.")
        else:
            secrets[name] = value
    return secrets


def _limits(keys: "_Keys") -> Limits:
    inner = keys.inner("limits", ("max_deletes", "max_change_percent"))
    found: dict[str, int | None] = {}
    for key, highest in (("max_deletes", 1_000_000), ("max_change_percent", 100)):
        value = inner.value.get(key, getattr(Limits(), key))
        if value is not None and (not _is_count(value) or not 0 <= int(str(value)) <= highest):
            inner.bad(key, f"{key} must be a whole number from 0 to {highest:,}, or null for no limit.")
        else:
            found[key] = None if value is None else int(str(value))
    return Limits(**found)


def _drift(keys: "_Keys") -> dict[str, Json]:
    inner = keys.inner("drift", ("check_every", "on_drift"))
    every, on_drift = inner.value.get("check_every", "1d"), inner.value.get("on_drift", "report")
    if not isinstance(every, str) or not INTERVAL.fullmatch(every):
        inner.bad("check_every", "check_every must be a time like 15m or 1d.")
    if on_drift not in ON_DRIFT:
        inner.bad("on_drift", "on_drift must be report or self-heal.")
    return inner.value


def _mapping(path: str, data: bytes, known: Iterable[str]) -> "_Keys":
    tree = read_yaml(data, path)
    keys = _Keys(path, tree.value, tree.lines)
    keys.known(known)
    return keys


class _Keys:
    """The keys of one mapping in a file; collects every problem and raises them together."""

    def __init__(self, path: str, value: Json, lines: dict[str, int], *, within: str = "") -> None:
        self.path, self.lines, self.within = path, lines, within
        self.problems: list[Problem] = []
        self.value: dict[str, Json] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.bad("", "This must be a mapping: on each line a key, a colon and its value.", "declaration.shape")

    def bad(self, key: str, message: str, id: str = "declaration.key") -> None:
        field = where = join(self.within, key) if key else self.within
        while where and where not in self.lines:
            where = where.rpartition(".")[0]
        self.problems.append(Problem(id, message, self.path, self.lines.get(where, 1), field))

    def known(self, keys: Iterable[str]) -> None:
        for key in self.value:
            if key not in keys:
                self.bad(key, f"{key!r} is not a key here{did_you_mean(key, keys)}", "declaration.unknown-key")

    def done(self, result: T) -> T:
        if self.problems:
            raise InvalidFile(*self.problems)
        return result

    def file_name(self, noun: str, folder: str) -> str:
        name = self.path.removeprefix(folder).removesuffix(".yml")
        if not NAME.fullmatch(name):
            self.bad("", name_message(noun, name), "path.name")
        return name

    def text(self, key: str, default: str) -> str:
        value = self.value.get(key, default)
        if isinstance(value, str) and "\n" not in value:
            return value
        self.bad(key, f"{key} must be one line of text.")
        return default

    def name(self, key: str, default: str | None = None) -> str:
        value = self.value.get(key, default)
        if isinstance(value, str) and (value == default or NAME.fullmatch(value)):
            return value
        missing = "is missing: it" if key not in self.value else ""
        self.bad(
            key, f"{key} {missing} must be a name of lower-case letters, digits, dots and dashes.".replace("  ", " ")
        )
        return ""

    def texts(self, key: str, form: re.Pattern[str], noun: str) -> tuple[str, ...]:
        items = self.value.get(key, [])
        if not isinstance(items, list):
            self.bad(key, f"{key} must be a list.")
            return ()
        found: list[str] = []
        for index, item in enumerate(items):
            if not isinstance(item, str) or not form.fullmatch(item):
                self.bad(join(key, index), f"{item!r} is not {noun}.")
            elif item in found:
                self.bad(join(key, index), f"{item!r} is there twice: remove one of them.")
            else:
                found.append(item)
        return tuple(found)

    def mapping(self, key: str) -> dict[str, Json]:
        value = self.value.get(key, {})
        if isinstance(value, dict):
            return value
        self.bad(key, f"{key} must be a mapping.")
        return {}

    def inner(self, key: str, known: Iterable[str]) -> "_Keys":
        """The keys of a mapping within this one; its problems count as this one's."""
        inner = _Keys(self.path, self.mapping(key), self.lines, within=join(self.within, key))
        inner.problems = self.problems
        inner.known(known)
        return inner
