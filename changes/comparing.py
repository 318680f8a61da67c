"""Two plain values compared field by field, the way a reader would tell the difference.

Pure; knows no schema. Lists of objects are paired by the field that names each object, if there is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from changes.documents import canonical_json
from changes.reading import Json, join

NAMING = ("name", "id", "key", "title", "host", "hostname", "address", "path")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs. `before` is None where it was `added`, `after` where it was `removed`."""

    field: str
    before: Json
    after: Json
    risk: str = ""
    added: bool = False
    removed: bool = False


def compare(before: dict[str, Json], after: dict[str, Json]) -> tuple[FieldChange, ...]:
    """The fields that differ, in the order of `after`, then what left `before`."""
    return tuple(_mappings(before, after, ""))


def listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def same(before: Json, after: Json) -> bool:
    """Equal as JSON: unlike in Python, true is not 1."""
    if before != after:
        return False
    if isinstance(before, (dict, list)):
        return canonical_json(before) == canonical_json(after)
    return isinstance(before, bool) is isinstance(after, bool)


def _mappings(before: dict[str, Json], after: dict[str, Json], field: str) -> Iterator[FieldChange]:
    for key, value in after.items():
        where = join(field, key)
        if key in before:
            yield from _values(before[key], value, where)
        else:
            yield from _leaves(value, where, added=True)
    for key, value in before.items():
        if key not in after:
            yield from _leaves(value, join(field, key), added=False)


def _values(before: Json, after: Json, field: str) -> Iterator[FieldChange]:
    if same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _mappings(before, after, field)
    elif _objects(before) and _objects(after):
        yield from _object_lists(listed(before), listed(after), field)
    else:
        yield FieldChange(field, before, after)


def _objects(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _object_lists(before: list[Json], after: list[Json], field: str) -> Iterator[FieldChange]:
    name = naming_field(before, after)
    old, new = named(before, name), named(after, name)
    yield from _mappings(old, new, field)
    kept_before, kept_after = [key for key in old if key in new], [key for key in new if key in old]
    if name and kept_before != kept_after:
        yield FieldChange(field, list[Json](old), list[Json](new))


def named(items: list[Json], name: str) -> dict[str, Json]:
    return {
        str(item[name]) if name and isinstance(item, dict) else str(index): item for index, item in enumerate(items)
    }


def naming_field(*lists: list[Json]) -> str:
    """The first usual naming field that every object has, with a value of its own within its list."""
    for name in NAMING:
        if all(_is_naming(name, items) for items in lists):
            return name
    return ""


def _is_naming(name: str, items: list[Json]) -> bool:
    values = [item.get(name) for item in items if isinstance(item, dict)]
    return all(isinstance(value, str) and "." not in value for value in values) and len(set(map(str, values))) == len(
        items
    )


def _leaves(value: Json, field: str, *, added: bool) -> Iterator[FieldChange]:
    """What was added or removed as a whole: mappings by their fields, all else as one value."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, join(field, key), added=added)
    elif added:
        yield FieldChange(field, None, value, added=True)
    else:
        yield FieldChange(field, value, None, removed=True)
