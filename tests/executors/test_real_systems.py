"""Every system type of the catalogue at once, on its real server, through the whole way from merge to system."""

import json

import pytest

from changes import catalog as catalogs
from executors.discovery import reapply
from executors.models import Run
from playbooks.servers import MissingTool
from tests.systems.catalogue import KINDS, PLAYBOOKS, TYPES, server_of

pytestmark = pytest.mark.systems


@pytest.fixture
def beds(yard, settings):
    settings.MERGEYARD_CATALOG = [PLAYBOOKS]
    catalogs.catalog.cache_clear()
    started = {}
    for name in TYPES:
        try:
            started[name] = server_of(name).start(yard.directory / "systems" / name)
        except MissingTool:
            continue
    yield started
    for bed in started.values():
        bed.stop()


def secret(yard, name, value):
    path = yard.directory / "secrets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(value)
    return f"file:{name}"


def declared(yard, name, bed):
    refs = {key: secret(yard, f"{name}/{key}", value) for key, value in bed.secrets.items()}
    system = {"type": name, "owners": ["platform"], "connection": bed.connection, "secrets": refs}
    return {f"systems/{name}.yml": json.dumps(system)}


def documents(type_name, kind):
    """The example of a kind with all that it needs; the one of the kind itself last."""
    example = server_of(type_name).EXAMPLES[kind]
    wanted = [(other, spec, {}) for other, specs in example.needs.items() for spec in specs]
    named = {"name": f"{kind.lower()}_one"} if "name" in catalogs.catalog().kinds[kind].identity else {}
    wanted.append((kind, {**named, **example.spec}, example.secrets))
    for number, (name, spec, secrets) in enumerate(wanted):
        schema = catalogs.catalog().kinds[name]
        refs = {
            key: {"ref": f"file:payments/{kind.lower()}-{number}-{key}", "generate": True}
            for key in schema.secrets
            if key in secrets or schema.secrets[key].required
        }
        path = f"resources/payments/{type_name}/{name}/{kind.lower()}-{number}.yml"
        yield path, name, spec, json.dumps({"kind": name, "spec": spec, "secrets": refs})


def test_one_merge_reaches_every_system_and_a_second_run_changes_nothing(yard, beds):
    yard.merge({path: text for name, bed in beds.items() for path, text in declared(yard, name, bed).items()})
    found = [entry for name, kind in KINDS if name in beds for entry in documents(name, kind)]
    yard.roll_out({path: text for path, _, _, text in found})
    assert {item.system: (item.state, item.reason) for item in yard.items() if item.state != "succeeded"} == {}
    assert {run.contained for run in Run.objects.all()} == {True}
    for path, kind, spec, _ in found:
        name = path.split("/")[2]
        assert server_of(name).read(beds[name], kind, spec) is not None, path
    for name in beds:
        rollout = reapply(name, "Once more.")
        yard.work()
        for item in yard.items(rollout=rollout):
            assert {row.result for row in item.resources.all()} == {"unchanged"}, item.reason
    yard.roll_out({path: None for path, _, _, _ in found})
    assert {item.state for item in yard.items()} == {"succeeded"}, [item.reason for item in yard.items()]
    for path, kind, spec, _ in found:
        name = path.split("/")[2]
        assert server_of(name).read(beds[name], kind, spec) is None, path
