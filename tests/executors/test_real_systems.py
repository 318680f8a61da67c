"""Every system type of the catalogue at once, on its real server, through the whole way from merge to system."""

import json

import pytest

from changes import catalog as catalogs
from executors.discovery import reapply
from executors.models import Run
from playbooks.servers import MissingTool
from tests.systems.catalogue import KINDS, PLAYBOOKS, TYPES, Kind, server_of

pytestmark = pytest.mark.systems


@pytest.fixture
def beds(yard, settings):
    settings.MERGEYARD_CATALOG = [PLAYBOOKS]
    settings.MERGEYARD_WARM_SANDBOXES = len(TYPES)
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


def document(type_name, kind, spec, secrets=()):
    """Path, kind, whole spec and text of one document."""
    schema = catalogs.catalog().kinds[kind]
    name = str(spec.get("name", kind)).lower().replace("_", "-")
    refs = {
        key: {"ref": f"file:payments/{kind.lower()}-{name}-{key}", "generate": True}
        for key in schema.secrets
        if key in secrets or schema.secrets[key].required
    }
    text = json.dumps({"kind": kind, "spec": spec, "secrets": refs})
    return f"resources/payments/{type_name}/{kind}/{name}.yml", kind, spec, text


def needed(type_name):
    """What the examples of a type's kinds need, each once."""
    examples = [server_of(type_name).EXAMPLES[kind] for name, kind in KINDS if name == type_name]
    wanted = [(kind, spec) for example in examples for kind, specs in example.needs.items() for spec in specs]
    return list({(entry := document(type_name, kind, spec))[0]: entry for kind, spec in wanted}.values())


def test_one_merge_reaches_every_system_and_a_second_run_changes_nothing(yard, beds):
    yard.merge({path: text for name, bed in beds.items() for path, text in declared(yard, name, bed).items()})
    before = [entry for name in beds for entry in needed(name)]
    yard.roll_out({path: text for path, _, _, text in before})
    for name, kind in KINDS:
        if name in beds and hasattr(server_of(name), "prepare"):
            server_of(name).prepare(beds[name], kind)
    kinds = [Kind(name, kind) for name, kind in KINDS if name in beds]
    found = [document(kind.type, kind.name, kind.resource()["spec"], kind.example.secrets) for kind in kinds]
    yard.roll_out({path: text for path, _, _, text in found})
    assert {item.system: (item.state, item.reason) for item in yard.items() if item.state != "succeeded"} == {}
    assert {run.contained for run in Run.objects.all()} == {True}
    assert [path for path, kind, spec, _ in before + found if seen(beds, path, kind, spec) is None] == []
    for name in beds:
        rollout = reapply(name, "Once more.")
        yard.work()
        for item in yard.items(rollout=rollout):
            assert {row.result for row in item.resources.all()} == {"unchanged"}, item.reason
    for entries in (found, before):
        yard.roll_out({path: None for path, _, _, _ in entries})
        assert {item.state for item in yard.items()} == {"succeeded"}, [item.reason for item in yard.items()]
        assert [path for path, kind, spec, _ in entries if seen(beds, path, kind, spec) is not None] == []


def seen(beds, path, kind, spec):
    """The thing on its system, as the system's own client tells it."""
    name = path.split("/")[2]
    return server_of(name).read(beds[name], kind, spec)
