"""Two versions at once: the database of the newer one, and web, controller or workers that are one version behind."""

import contextlib
import subprocess
from pathlib import Path

import httpx
import pytest
from django.db import connection, models
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from rq.job import Job
from rq.serializers import JSONSerializer

from executors import queues
from executors.models import Event, Run
from executors.states import RUN_OPEN
from tests.executors.conftest import box, document
from tests.executors.test_processes import machine, own_queue, states, until
from tests.portal.live import Stream

__all__ = ["machine", "own_queue"]

ROOT = Path(__file__).resolve().parents[2]
APPS = ("changes", "executors")
ADD = (operations.CreateModel, operations.AddField, operations.AddIndex, operations.AlterField)


def migrations():
    """Those after the first ones, which no older version can meet."""
    loader = MigrationLoader(None)
    return {key: found for key, found in loader.disk_migrations.items() if key[0] in APPS and not found.initial}


def may_be_left_out(field):
    return field.null or field.many_to_many or field.db_default is not models.NOT_PROVIDED


@pytest.mark.threat("faults.upgrade")
def test_migrations_only_add_and_what_they_add_may_be_left_out():
    state = MigrationLoader(None).project_state()
    wrong = []
    for (app, name), migration in migrations().items():
        for step in migration.operations:
            if not isinstance(step, ADD):
                wrong.append(f"{app}.{name}: {step.describe()}")
            if isinstance(step, operations.AddField | operations.AlterField):
                field = state.models[app, step.model_name_lower].fields[step.name]
                if not may_be_left_out(field):
                    wrong.append(f"{app}.{name}: {step.model_name}.{step.name} has no default in the database")
    assert migrations()
    assert wrong == []


def new_row(model):
    """A row of a model of some version, by its own fields alone."""
    given = {}
    for field in model._meta.concrete_fields:
        if field.primary_key or field.has_default() or field.null:
            continue
        if field.is_relation:
            given[field.name] = new_row(field.related_model)
        elif isinstance(field, models.DateTimeField):
            given[field.name] = "2026-01-01T00:00:00Z"
        elif isinstance(field, models.BooleanField | models.IntegerField):
            given[field.name] = model._default_manager.count()
        else:
            given[field.name] = str(model._default_manager.count())[: field.max_length]
    return model._default_manager.create(**given)


@pytest.mark.django_db
@pytest.mark.threat("faults.upgrade")
@pytest.mark.parametrize("before", sorted(migrations()), ids="-".join)
def test_every_version_before_reads_and_writes_the_newest_tables(before):
    loader = MigrationLoader(connection)
    older = loader.project_state([parent.key for parent in loader.graph.node_map[before].parents])
    tables = [model for model in older.apps.get_models() if model._meta.app_label == before[0]]
    assert tables
    for model in tables:
        row = new_row(model)
        row.refresh_from_db()
        row.save()
        assert model._default_manager.filter(pk=row.pk).delete()[0] >= 1


@pytest.mark.threat("faults.upgrade")
@pytest.mark.parametrize(
    ("function", "given"),
    [("executors.jobs.of_later", ["shelf-a"]), ("executors.jobs.run_system", ["shelf-a", "more"])],
)
def test_a_job_of_another_version_is_dropped_and_its_system_is_worked_on_all_the_same(yard, function, given):
    job = Job.create(function, args=given, connection=queues.redis(), serializer=JSONSerializer)
    queues._queue("zone-default").enqueue_job(job)
    yard.merge({box("one"): document("Box")})
    yard.work()
    assert [item.state for item in yard.items()] == ["succeeded"]
    assert not queues.redis().llen("rq:queue:zone-default")


@pytest.fixture(scope="module")
def version_before(tmp_path_factory):
    """Its files: what stood before the newest migration came."""
    paths = [f"{app}/migrations/0*.py" for app in APPS]
    newest = ["git", "log", "-1", "--format=%H", "--diff-filter=A", "--", *paths]
    sha = subprocess.run(newest, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    tree = tmp_path_factory.mktemp("before")
    files = subprocess.run(["git", "archive", f"{sha}^"], cwd=ROOT, capture_output=True)
    if not sha or files.returncode:
        pytest.skip("not tested: a worker of the version before: this checkout has no history")
    subprocess.run(["tar", "-x", "-C", tree], input=files.stdout, check=True)
    return tree


class Pages:
    """What somebody who is signed in sees of a run, by a web process of some version."""

    def __init__(self, address, user):
        browser = Client()
        browser.force_login(user)
        cookies = {"sessionid": browser.cookies["sessionid"].value}
        self.http = httpx.Client(base_url=address, cookies=cookies, timeout=30, trust_env=False)

    def see(self, run):
        """Its pages answer while it goes on, its stream brings each line up to the last one, which they show then."""
        with self.stream(run) as stream:
            assert stream.next() == "log"
            self.three(run)
            while Run.objects.get(pk=run.pk).state in RUN_OPEN:
                assert stream.next() in ("log", "state")
            last = Event.objects.filter(run=run).latest("number")
            every = list(range(1, last.number + 1))
            assert stream.until(run, last.number) == every
        [text] = ["".join(part[1] for part in line["parts"]) for line in stream.lines if line["number"] == last.number]
        assert "ok=" in text
        home, *logs = self.three(run)
        assert "Boxes" in home
        assert [f'id="r{run.pk}-l{last.number}"' in page and "ok=" in page for page in logs] == [True, True]
        Event.objects.filter(run=run).delete()  # as long as the database does not have them, they are in the queue
        with self.stream(run) as stream:
            assert stream.until(run, last.number) == every

    @contextlib.contextmanager
    def stream(self, run):
        with self.http.stream("GET", f"/events/?rollout={run.item.rollout_id}&after={run.pk}:0") as answer:
            assert answer.status_code == 200
            yield Stream(answer)

    def three(self, run):
        addresses = ("/", f"/rollouts/{run.item.rollout_id}/?item={run.item_id}", f"/runs/{run.pk}/log/")
        answers = [self.http.get(address) for address in addresses]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        return [answer.text for answer in answers]


@pytest.mark.stack
@pytest.mark.threat("faults.upgrade")
@pytest.mark.parametrize("behind", ["worker", "controller and web"])
def test_what_one_version_queues_the_other_one_runs_and_shows_and_a_switch_disturbs_no_run(
    yard, machine, version_before, behind
):
    assert len(list(version_before.glob("*/migrations/0*.py"))) < len(list(ROOT.glob("*/migrations/0*.py")))
    command = ["worker"] if behind == "worker" else ["controller", "--interval", "1"]
    pages = Pages(machine.serve(tree=ROOT if behind == "worker" else version_before), yard.user("rita"))
    if behind != "worker":
        machine.running[0].kill()  # the new controller, which every machine begins with
        machine.start("worker")
    old = machine.start(*command, tree=version_before)
    yard.merge({box("one"): document("Box", trouble="slow 3"), box("two", "shelf-b"): document("Box")})
    until(yard.sleepers)
    old.terminate()
    machine.start(*command)
    pages.see(Run.objects.get(item__system="shelf-a"))
    until(lambda: states() == ["succeeded", "succeeded"])
    assert [run.state for run in Run.objects.all()] == ["succeeded", "succeeded"]
    assert old.wait(timeout=20) == 0
    yard.merge({box("one"): None})
    until(lambda: states() == ["succeeded"] * 3)
    assert yard.stored("one") is None
    pages.see(Run.objects.latest("pk"))
    assert machine.running[-1].poll() is None
