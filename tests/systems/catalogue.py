"""What the conformance suite knows of the catalogue: folders, schemas, examples. No kind is named here."""

import copy
import functools
import importlib.util
import itertools
import os
import re
import sys
from pathlib import Path

import jsonschema_rs
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
SYSTEM = "conformance"
numbers = itertools.count(1)

ROOTS = [PLAYBOOKS, *map(Path, filter(None, os.environ.get("MERGEYARD_CATALOG", "").split(",")))]
if not all(root.is_absolute() and root.is_dir() for root in ROOTS):
    raise SystemExit("MERGEYARD_CATALOG: the suite wants folders by their absolute paths; check out what lies in git.")
FOLDERS = {file.parent.name: file.parent for root in ROOTS for file in root.glob("*/system.yml")}
TYPES = sorted(FOLDERS)


class Loader(yaml.SafeLoader):
    """YAML 1.2's words for true and false: `on` is a key of ours."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def load(file):
    return yaml.load(file.read_text(), Loader=Loader)


@functools.cache
def system_of(type_name):
    return load(FOLDERS[type_name] / "system.yml")


@functools.cache
def kind_of(type_name, kind):
    return load(FOLDERS[type_name] / "kinds" / f"{kind}.yml")


KINDS = [(type_name, kind) for type_name in TYPES for kind in system_of(type_name)["kinds"]]


@functools.cache
def server_of(type_name):
    """The type's test bed, wherever its folder lies."""
    spec = importlib.util.spec_from_file_location(f"testbed_of_{type_name}", FOLDERS[type_name] / "testbed.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def start_of(type_name, server=""):
    """How a type's server is started; a type may have a second, `embedded` one, which lacks some things."""
    return getattr(server_of(type_name), f"start_{server}" if server else "start")


def lacks(type_name, server):
    """`Kind` or `Kind.field` -> why this server does not have it. The full server has everything."""
    return server_of(type_name).EMBEDDED_LACKS if server else {}


SERVERS = [(name, "") for name in TYPES]
SERVERS += [(name, "embedded") for name in TYPES if hasattr(server_of(name), "EMBEDDED_LACKS")]


def fields_of(schema, value):
    """The schema's fields as they hold for a value: those of the branch of its `if` that is taken come on top."""
    fields = {name: inner for name, inner in schema.get("properties", {}).items() if isinstance(inner, dict)}
    if "if" in schema:
        branch = schema.get("then" if jsonschema_rs.is_valid(schema["if"], value) else "else", {})
        for name, inner in fields_of(branch, value).items():
            fields[name] = {**fields.get(name, {}), **inner}
    return fields


def with_defaults(schema, value):
    """The value with the schema's defaults, at every depth, as the product applies them."""
    if isinstance(value, dict):
        for fields in (schema.get("properties", {}), fields_of(schema, value)):
            given = {name: inner["default"] for name, inner in fields.items() if "default" in as_dict(inner)}
            value = {**value, **{name: copy.deepcopy(given[name]) for name in given if name not in value}}
        return {name: with_defaults(fields.get(name, {}), inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_defaults(schema.get("items") or {}, inner) for inner in value]
    return value


def places_of(schema, place=()):
    """Every field, at every depth and in every branch, as names from outside to inside; `*` is any entry of a list."""
    fields = {}
    for part in (schema, schema.get("then", {}), schema.get("else", {})):
        for name, inner in part.get("properties", {}).items():
            fields[name] = {**fields.get(name, {}), **as_dict(inner)}
    for name, inner in fields.items():
        yield (*place, name)
        yield from places_of(inner, (*place, name))
        yield from places_of(as_dict(inner.get("items")), (*place, name, "*"))


def values_at(value, place):
    """What stands at a place; of a list's entries, all."""
    if not place:
        return [value]
    name, *inner = place
    if name == "*" or isinstance(name, int):
        return [found for n, entry in enumerate(value) if name in ("*", n) for found in values_at(entry, inner)]
    return values_at(value[name], inner) if isinstance(value, dict) and name in value else []


def given(schema, value, place=()):
    """Every field that a value has, as `places_of` names it."""
    if isinstance(value, list):
        for entry in value:
            yield from given(as_dict(schema.get("items")), entry, (*place, "*"))
    if isinstance(value, dict):
        for name, inner in fields_of(schema, value).items():
            if name in value:
                yield (*place, name)
                yield from given(inner, value[name], (*place, name))


def put(spec, place, value):
    *way, last = place
    for key in way:
        spec = spec[key]
    spec[last] = value


def as_dict(schema):
    return schema if isinstance(schema, dict) else {}


class Kind:
    """One kind, its example, and resources made of it that never meet those of another test."""

    def __init__(self, type_name, name, server=""):
        self.type, self.name, self.server = type_name, name, server
        self.file = kind_of(type_name, name)
        self.schema = self.file["spec"]
        self.identity = self.file.get("identity", ["name"])
        self.example = server_of(type_name).EXAMPLES[name]

    def __repr__(self):
        return "-".join(filter(None, (self.type, self.name, self.server)))

    def resource(self, *, shape=None, **fields):
        """`shape`: the spec to begin with, where it is not the example's."""
        number = next(numbers)
        spec = copy.deepcopy(shape or self.example.spec)
        if self.example.vary:
            spec |= self.example.vary(number)
        else:
            field = self.identity[-1]
            spec[field] = f"{spec.get(field, 'conformance_')}x{number}"
        return self.at(f"conformance-{number}", {**spec, **fields})

    @property
    def shapes(self):
        """The specs to begin with, which together have every field; the example's own comes last."""
        return [*self.example.instead.values(), self.example.spec]

    def resource_with(self, field):
        """One that may have this field."""
        return self.resource(shape=self.example.instead.get(field))

    def at(self, name, spec):
        path = f"payments/{SYSTEM}/{self.name}/{name}"
        return {"path": path, "team": "payments", "name": name, "spec": with_defaults(self.schema, spec)}

    def changed(self, resource, **fields):
        return {**resource, "spec": with_defaults(self.schema, {**resource["spec"], **fields})}

    def changed_at(self, resource, place, value):
        spec = copy.deepcopy(resource["spec"])
        put(spec, place, value)
        return {**resource, "spec": with_defaults(self.schema, spec)}

    def frozen_changed(self, resource, name):
        return self.changed_at(resource, name.split("."), self.example.frozen[name])

    @property
    def left_out(self):
        """`Kind.field: why`, of what the example says cannot be tried where this runs."""
        return [f"{self.name}.{field}: {why}" for field, why in self.example.not_here.items()]

    @property
    def updates(self):
        """Place -> another value, of what this server can change. A name may itself hold dots."""
        known = {".".join(place): place for place in places_of(self.schema)}
        return {
            known[name]: value
            for name, value in self.example.updates.items()
            if not lies_in(known[name], self.not_here)
        }

    @property
    def untried(self):
        """Mutable fields, at every depth, that no update changes; of those in a list: whose values are all alike."""
        spec = with_defaults(self.schema, self.example.spec)
        changes = [(place, nested(place, value)) for place, value in self.updates.items()]
        changed = [with_defaults(self.schema, {**spec, **change}) for place, change in changes if len(place) == 1]
        for place in places_of(self.schema):
            if not self.may_change(place):
                continue
            if "*" in place:
                tried = len({repr(found) for each in (spec, *changed) for found in values_at(each, place)}) > 1
            else:
                before = values_at(spec, place)
                tried = any(found not in ([], before) for found in (values_at(each, place) for _, each in changes))
            if not tried:
                yield ".".join(place)

    @property
    def known(self):
        """Whole specs that the examples know: their own, and each with one of the updates."""
        yield self.example.spec
        for place, value in self.updates.items():
            changed = copy.deepcopy(self.example.instead.get(place[0], self.example.spec))
            put(changed, place, value)
            yield changed
        yield from self.example.instead.values()

    @property
    def removals(self):
        """Place, at every depth, of what a document may leave out -> a spec that has it, and the places to leave out.

        Without them it differs at the place; None, where the examples have nothing but the default.
        """
        found, validator, named = {}, jsonschema_rs.validator_for(self.schema), dict.fromkeys(self.identity, "x")
        for spec in self.known:
            for place in dict.fromkeys(given(self.schema, spec)):
                if found.get(place):
                    continue
                for shape, exact in with_one_entry(spec, place):
                    for places in filter(self.may_go, ways_without(shape, exact)):
                        left = left_without(shape, *places)
                        if not found.get(place) and validator.is_valid({**named, **left}):
                            was, is_ = (values_at(with_defaults(self.schema, each), place) for each in (shape, left))
                            found[place] = (shape, places) if was != is_ else None
        return found

    def without(self, resource, *places):
        """Without what stands at places (names, from outside to inside)."""
        return {**resource, "spec": with_defaults(self.schema, left_without(resource["spec"], *places))}

    @property
    def not_here(self):
        """Fields that cannot be changed on this server -> why."""
        found = {name.partition("."): why for name, why in lacks(self.type, self.server).items()}
        return self.example.not_here | {field: why for (kind, _, field), why in found.items() if kind == self.name}

    @property
    def maps(self):
        """Fields with entries of their own names, of which the example has some."""
        return [
            name
            for name in self.mutable
            if isinstance(self.schema["properties"][name].get("additionalProperties"), dict)
            and self.example.spec.get(name)
        ]

    @property
    def mutable(self):
        fixed = {*self.file.get("immutable", {}), *self.identity}
        return [name for name in self.schema["properties"] if name not in fixed]

    @property
    def frozen(self):
        """Fields, also of objects (`object.field`)."""
        return [name for name in self.file.get("immutable", {}) if name not in self.identity]

    def may_change(self, place):
        return place[0] in self.mutable and not lies_in(place, [*self.frozen, *self.not_here])

    def may_go(self, places):
        """Whether a document may be left without them all: none is immutable or has something immutable in it."""
        names = [".".join(map(str, place)) for place in places]
        return all(map(self.may_change, places)) and not any(lies_in(name.split("."), names) for name in self.frozen)


def lies_in(place, names):
    """Whether one of the names is that of the place, or of one around it."""
    return any(f"{'.'.join(map(str, place))}.".startswith(f"{name}.") for name in names)


def nested(place, value):
    for name in reversed(place):
        value = {name: value}
    return value


def left_without(value, *places):
    """`*` in a place: in all entries of the list."""
    for name, *inner in places:
        if name == "*" or isinstance(name, int):
            value = [left_without(entry, inner) if name in ("*", n) else entry for n, entry in enumerate(value)]
        elif not inner:
            value = {key: kept for key, kept in value.items() if key != name}
        elif name in value:
            value = {**value, name: left_without(value[name], inner)}
    return value


def ways_without(value, place):
    """Places to leave out: one alone or, as some fields come together, with another of that object or with all."""
    beside = {name: None for found in values_at(value, place[:-1]) for name in found if name != place[-1]}
    others = [(*place[:-1], name) for name in beside]
    return [[place], *([place, other] for other in others), [place, *others]]


def with_one_entry(value, place):
    """(value, place), once for each entry that has it: other entries are left out, as some may not be alike.

    Lists within that entry stay whole, as some need another one; there the place says which by its number.
    """
    if "*" not in place:
        return [(value, place)]
    at = place.index("*")
    found = []
    for entry in values_at(value, place[:at])[0]:
        for inner in numbered(entry, place[at + 1 :]):
            alone = copy.deepcopy(value)
            put(alone, place[:at], [entry])
            found.append((alone, (*place[: at + 1], *inner)))
    return found


def numbered(value, place):
    """The place, once for each entry of the lists on the way that has it, by numbers."""
    if not place:
        return [()]
    name, *inner = place
    keys = range(len(value)) if name == "*" else [name] if name in value else []
    return [(key, *rest) for key in keys for rest in numbered(value[key], inner)]


PROVEN = [
    Kind(type_name, kind, server)
    for type_name, server in SERVERS
    for kind in system_of(type_name)["kinds"]
    if kind not in lacks(type_name, server)
]
