"""What the demo makes of an installation that is not as it should be: it waits, or says one sentence."""

import io
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.utils import timezone

from changes.repository import Repository, RepositoryError
from executors.models import Commit, Event, Rollout, Run, WorkItem
from executors.states import ItemState
from portal.demo import installation
from portal.demo.home import CannotStart
from portal.demo.screen import Screen


class Clock:
    """Ten seconds at each sleep, in which `work` does something."""

    def __init__(self, work):
        self.now, self.work = 0.0, work

    def monotonic(self):
        return self.now

    def sleep(self, _):
        self.now += 10
        self.work(self.now)


@pytest.fixture
def wait(monkeypatch):
    """Waits for the work; returns what it said and after how many seconds."""

    def waited(work=lambda now: None):
        clock = Clock(work)
        monkeypatch.setattr(installation, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
        return installation.wait_for_work(Screen(io.StringIO())), clock.now

    return waited


@pytest.fixture
def rollout(db):
    commit = Commit.objects.create(position=1, sha="a" * 40, subject="Begin", author="ana")
    return Rollout.objects.create(commit=commit, cause="initial")


def an_item(rollout, system, state, zone="default"):
    item = WorkItem.objects.create(rollout=rollout, position=1, wave=0, system=system, zone=zone, state=state)
    return item, Run.objects.create(item=item, number=1, fence=1, worker="w")


def test_an_item_that_is_stuck_is_named_with_its_cause_and_holds_up_no_start(rollout, wait):
    an_item(rollout, "edge", ItemState.WAITING, zone="moon")
    an_item(rollout, "kafka", ItemState.SUCCEEDED)
    assert wait() == (
        "0 of 0 resources so far. The rest goes on when it can: edge: No workers are configured for zone moon. The "
        "platform team adds moon to MERGEYARD_ZONES and starts one there: manage.py worker --zone moon.",
        40,
    )


def test_work_that_goes_on_is_waited_for(rollout, wait):
    item, run = an_item(rollout, "edge", ItemState.RUNNING)

    def work(now):
        Event.objects.create(run=run, number=now, sort="line", at=timezone.now())
        if now > 70:
            WorkItem.objects.filter(pk=item.pk).update(state=ItemState.SUCCEEDED)

    assert wait(work) == ("0 resources on 1 systems", 80)


def test_work_that_goes_on_and_on_is_left_to_go_on(rollout, wait):
    run = an_item(rollout, "edge", ItemState.RUNNING)[1]
    said, seconds = wait(lambda now: Event.objects.create(run=run, number=now, sort="line", at=timezone.now()))
    assert (said, seconds) == ("0 of 0 resources so far. The rest goes on when it can: edge still runs", 100)


def test_of_much_that_waits_the_first_are_named(rollout, wait):
    for number in range(4):
        an_item(rollout, f"edge-{number}", ItemState.ASKING)
    assert wait()[0].endswith(", 2 more")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OperationalError("database or disk is full"), "The database cannot be used: database or disk is full."),
        (OperationalError("refused.\nIs it running?"), "The database cannot be used: refused."),
        (RepositoryError("no space left"), "The state repository cannot be used: no space left"),
    ],
)
def test_a_database_or_a_repository_that_cannot_be_had_is_one_sentence(error, sentence):
    with pytest.raises(CannotStart) as caught, installation.troubles_told():
        raise error
    assert str(caught.value) == sentence


@pytest.fixture
def home(settings, tmp_path):
    settings.MERGEYARD_HOME, settings.MERGEYARD_REPOSITORY = tmp_path, tmp_path / "state.git"
    return tmp_path


def make_repository(home):
    repository = Repository.create(home / "state.git")
    person = installation.setup.MERGEYARD
    fields = {"author": person, "committer": person, "when": timezone.now() - timedelta(days=1)}
    commit = repository.commit(parents=[], base_tree_of=None, changes={"a": b"b"}, message="Begin\n", **fields)
    repository.swap_ref("refs/heads/main", commit, None)


def test_a_new_home_with_a_new_database_is_new(home, db):
    assert installation.is_new()


def test_a_database_of_another_installation_is_told(home, rollout):
    with pytest.raises(CannotStart) as caught:
        installation.is_new()
    assert str(caught.value).startswith(f"The database knows an installation that is not in {home}: name an empty ")


def test_a_home_of_another_installation_is_told(home, db):
    make_repository(home)
    with pytest.raises(CannotStart) as caught:
        installation.is_new()
    assert str(caught.value).startswith(f"The database knows nothing of the installation in {home}: name the one ")


def test_a_home_and_its_database_are_not_new(home, rollout):
    make_repository(home)
    assert not installation.is_new()
