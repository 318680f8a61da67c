"""Every commit of main once, in order; only what was approved runs."""

import json
import re
import subprocess
import threading
from datetime import UTC, datetime

import pytest
from django.db import connection
from pygit2.enums import ObjectType

from changes.catalog import catalog
from changes.repository import Repository
from changes.repository.snapshots import snapshot
from executors import discovery, health
from executors.claim import claim
from executors.discovery import HistoryRewritten, discover, initialise
from executors.models import Commit, Cursor, ItemResource, Resource, Rollout, WorkItem
from executors.preparation import CannotPrepare, Main
from executors.reconcile import discover_commits, reconcile
from tests.executors.conftest import SOMEBODY, box, document


def test_a_merge_is_recorded_once(yard):
    sha = yard.merge({box("orders"): document("Box")})
    assert discover()
    assert not discover()
    commit = Commit.objects.get(sha=sha)
    assert (commit.position, commit.quarantined, commit.author) == (2, False, "Rita")
    rollout = Rollout.objects.get()
    assert (rollout.commit, rollout.cause) == (commit, "merge")
    assert [row.operation for row in ItemResource.objects.all()] == ["create"]
    resource = Resource.objects.get(path=box("orders"))
    assert (resource.sync, resource.team, resource.name, resource.commit) == ("pending", "payments", "orders", commit)


def test_a_long_way_is_gone_in_turns_and_the_first_work_does_not_wait_for_the_last(yard, monkeypatch):
    monkeypatch.setattr(discovery, "TURN_SECONDS", 0)
    for shelf in ("shelf-a", "shelf-b"):
        yard.merge({box("orders", shelf): document("Box")})
    assert reconcile()
    assert [item.state for item in WorkItem.objects.all()] == ["queued"]
    assert reconcile()
    assert [item.state for item in WorkItem.objects.order_by("pk")] == ["queued", "queued"]


@pytest.mark.threat("faults.controllers")
def test_two_controllers_record_a_commit_once(yard):
    for number in range(5):
        yard.merge({box(f"box-{number}"): document("Box")})
    failures = []

    def look():
        try:
            discover()
        except Exception as error:
            failures.append(error)
        connection.close()

    threads = [threading.Thread(target=look) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    while discover():
        pass
    assert failures == []
    assert Commit.objects.count() == 6
    assert Rollout.objects.count() == WorkItem.objects.count() == 5
    assert Cursor.objects.get().position == 6


@pytest.mark.threat("git.commit-on-main")
def test_a_commit_nobody_approved_is_quarantined_and_later_ones_run(yard):
    yard.roll_out({box("orders"): document("Box", size=1)})
    direct = yard.commit({box("orders"): document("Box", size=66), box("sneaky"): document("Box")})
    yard.roll_out({box("refunds"): document("Box")})
    assert Commit.objects.get(sha=direct).quarantined
    orders, sneaky = yard.resource(box("orders")), yard.resource(box("sneaky"))
    assert (orders.sync, sneaky.sync, sneaky.blob) == ("unapproved", "unapproved", "")
    assert "without an approved change request" in orders.message
    assert (yard.stored("orders")["size"], yard.stored("sneaky")) == (1, None)
    assert yard.stored("refunds") is not None


@pytest.mark.threat("git.commit-on-main")
def test_what_cannot_be_kept_of_a_commit_made_by_hand_stops_no_later_one(yard):
    """Names longer than a column, which only PostgreSQL minds, headers that mean nothing, a date that is none."""
    long = "é" * 400
    yard.commit({box("one"): document("Box", name=f"{long} 1", label=long), box("two"): document("Box", name=long)})
    main = yard.repository.main()
    lines = [f"tree {yard.repository.info(main).tree}", f"parent {main}", f"author A <a> {10**15} +0000"]
    odd = "\n".join([*lines, f"committer A <a> {10**15} +0000", "encoding nonsense", "", "Caf"]).encode() + b"\xe9"
    sha = str(yard.repository._git.write(ObjectType.COMMIT, odd))
    yard.repository.swap_ref("refs/heads/main", sha, main)
    yard.roll_out({box("refunds"): document("Box")})
    assert yard.stored("refunds") is not None
    assert list(Commit.objects.order_by("position").values_list("quarantined", flat=True)) == [False, True, True, False]
    assert (Commit.objects.get(sha=sha).subject, yard.repository.info(sha).at.year) == ("Caf\ufffd", 9000)
    kept = {row.identity for row in Resource.objects.filter(path__in=(box("one"), box("two")))}
    assert len(kept) == 2
    assert max(map(len, kept)) <= Resource._meta.get_field("identity").max_length


@pytest.mark.threat("git.dates")
def test_the_order_is_that_of_main_whatever_the_dates_say(yard):
    for year in (2099, 1970):
        yard.merge({box("orders"): document("Box", size=year)}, when=datetime(year, 1, 1, tzinfo=UTC))
    yard.work()
    commits = [yard.repository.info(commit.sha) for commit in Commit.objects.order_by("position")]
    assert [commit.at.year for commit in commits[1:]] == [2099, 1970]
    assert [item.state for item in yard.items()] == ["succeeded", "succeeded"]
    assert yard.stored("orders")["size"] == 1970


def put_by_hand(yard, name):
    """Something that was on the shelf before anybody described it."""
    (yard.directory / "shelf-a" / f"Box-{name}.json").write_text('{"by": "hand"}')


def test_taking_an_unapproved_document_back_deletes_nothing(yard):
    put_by_hand(yard, "legacy")
    yard.commit({box("legacy"): document("Box")})
    yard.work()
    assert yard.resource(box("legacy")).sync == "unapproved"
    yard.merge({box("legacy"): None})
    yard.work()
    assert yard.stored("legacy") == {"by": "hand"}
    assert yard.items() == []
    assert (yard.resource(box("legacy")).sync, yard.resource(box("legacy")).message) == ("deleted", "")


def test_taking_an_unapproved_other_name_back_deletes_neither_thing(yard):
    put_by_hand(yard, "legacy")
    yard.roll_out({box("orders"): document("Box", name="orders")})
    yard.commit({box("orders"): document("Box", name="legacy")})
    yard.work()
    yard.merge({box("orders"): document("Box", name="orders")})
    yard.work()
    assert (yard.stored("legacy"), yard.stored("orders")["name"]) == ({"by": "hand"}, "orders")
    standing = {json.loads(row.identity)["name"]: row.sync for row in Resource.objects.all()}
    assert standing == {"orders": "synced", "legacy": "deleted"}


def test_a_deletion_is_of_what_was_approved_whatever_lay_on_main(yard):
    put_by_hand(yard, "legacy")
    yard.roll_out({box("orders"): document("Box", name="orders")})
    yard.commit({box("orders"): document("Box", name="legacy")})
    yard.work()
    yard.roll_out({box("orders"): None})
    assert (yard.stored("legacy"), yard.stored("orders")) == ({"by": "hand"}, None)
    [*_, item] = yard.items()
    assert [(row.operation, row.identity) for row in item.resources.all()] == [("delete", '{"name":"orders"}')]


def test_an_unapproved_document_that_a_change_request_takes_over_is_created(yard):
    yard.commit({box("orders"): document("Box", size=66)})
    yard.roll_out({box("orders"): document("Box", size=5)})
    assert (yard.result(box("orders")).operation, yard.stored("orders")["size"]) == ("create", 5)
    assert yard.resource(box("orders")).sync == "synced"


def test_an_unapproved_commit_that_takes_another_back_leaves_nothing_unapproved(yard):
    yard.roll_out({box("orders"): document("Box", size=1)})
    for text in (document("Box", size=66), document("Box", size=1)):
        yard.commit({box("orders"): text})
        yard.work()
    assert yard.resource(box("orders")).sync == "synced"


@pytest.mark.parametrize("left", [{}, {"applied_blob": "", "ours": True}])
def test_what_is_still_to_be_taken_away_is_not_said_to_be_gone(yard, left):
    """Also where its creation broke halfway: what there is of it is ours."""
    yard.roll_out({box("orders"): document("Box")})
    Resource.objects.update(**left)
    yard.merge({box("orders"): None})
    discover()
    yard.commit({box("orders"): document("Box", size=66)})
    yard.merge({box("orders"): None})
    discover()
    assert yard.resource(box("orders")).sync == "pending"


def test_work_follows_its_system_to_another_zone(yard, settings):
    declared = {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(yard.directory / "shelf-a")}}
    yard.merge({"systems/shelf-a.yml": json.dumps({**declared, "zone": "dmzz"}), box("orders"): document("Box")})
    yard.work()
    assert [(item.zone, item.state) for item in yard.items()] == [("dmzz", "queued")]
    assert claim("shelf-a", worker="of another zone", zone="default") is None
    yard.merge({"systems/shelf-a.yml": json.dumps(declared)})
    yard.work()
    yard.roll_out({box("orders"): document("Box", size=5)})
    assert [(item.zone, item.state) for item in yard.items()] == [("default", "succeeded"), ("default", "succeeded")]
    assert yard.stored("orders")["size"] == 5


def test_an_unapproved_zone_moves_nothing(yard):
    yard.merge({box("orders"): document("Box")})
    yard.commit({"systems/shelf-a.yml": json.dumps({"type": "shelf", "owners": ["shelves"], "zone": "dmzz"})})
    while reconcile():
        pass
    assert [item.zone for item in yard.items()] == ["default"]


@pytest.mark.threat("git.commit-on-main")
def test_a_system_that_an_unapproved_commit_changed_is_not_used(yard):
    sneaky = {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(yard.directory / "shelf-b")}}
    yard.commit({"systems/shelf-a.yml": json.dumps(sneaky)})
    yard.roll_out({box("orders"): document("Box")})
    [item] = yard.items()
    assert item.state == "failed"
    assert "systems/shelf-a.yml was changed by commit" in item.reason
    assert yard.stored("orders", "shelf-b") is None


@pytest.mark.threat("git.commit-on-main")
def test_who_changed_a_file_last_is_known_without_a_walk_over_main(yard, monkeypatch):
    """Merges (big letters) and commits by hand (small ones) give it a content or change something else (x)."""
    path, looked, wrong = "teams/others.yml", [], []
    last = ""
    for number, what in enumerate("AxaBbXaAbCcXcAcCbXBcBxAbCBXAXXXXXXXXXX"):
        same = what.lower() == last.lower()
        text = {path: f"title: {what.upper()}\nmembers: []\n"}
        other = {box("orders"): document("Box", size=number + 1)}
        (yard.merge if what.isupper() else yard.commit)(other if what in "xX" or same else {**text, **other})
        last = last if what in "xX" or same else what
        discover()
        with monkeypatch.context() as patched:
            real, calls = Repository._commit, []
            patched.setattr(Repository, "_commit", lambda *at, calls=calls, real=real: (calls.append(at), real(*at))[1])
            try:
                Main().read(path)
                refused = False
            except CannotPrepare as error:
                refused = f"{path} was changed by commit" in str(error)
        looked.append(len(calls))
        wrong += [number] if refused != last.islower() else []
    assert wrong == []
    assert looked[-1] == looked[-10] <= 4


@pytest.mark.threat("git.rewritten-main", "git.unrelated")
def test_a_rewritten_history_stops_discovery_with_an_alarm_and_drops_nothing(yard):
    yard.merge({box("orders"): document("Box")})
    discover()
    items = WorkItem.objects.count()
    rewritten = yard.repository.commit(
        parents=[],
        base_tree_of=None,
        changes={"README.md": b"new"},
        message="New beginning\n",
        author=SOMEBODY,
        committer=SOMEBODY,
        when=yard.repository.info(yard.first).at,
    )
    before = yard.repository.head()
    yard.repository.swap_ref("refs/heads/main", rewritten, before)
    with pytest.raises(HistoryRewritten):
        discover()
    assert not discover_commits()
    alarm = Cursor.objects.get().alarm
    assert "was rewritten" in alarm
    assert "If the repository does not have that commit any more, restore a backup." in alarm
    assert WorkItem.objects.count() == items
    subprocess.run(re.search(r"git --git-dir=\S+ update-ref [^.]+(?=\. If)", alarm)[0].split(), check=True)
    assert yard.repository.head() == before
    discover_commits()
    assert Cursor.objects.get().alarm == ""


def put_on_main(yard, *entries):
    """A commit that no client of ours would make: (mode, path, content or id) each. A message in Latin-1 with NUL."""
    head = yard.repository.head()
    lines = [b"commit refs/heads/main", b"committer M <m@office.example> 0 +0000", b"encoding latin-1"]
    lines += [b"data 6", b"caf\xe9\0\n", b"from " + head.encode()]
    for mode, path, content in entries:
        inline = isinstance(content, bytes)
        lines += [b"M %s %s %s" % (mode, b"inline" if inline else content.encode(), path)]
        lines += [b"data %d" % len(content), content] if inline else []
    command = ["git", f"--git-dir={yard.repository.path}", "fast-import", "--quiet"]
    subprocess.run(command, input=b"\n".join([*lines, b""]), check=True)
    return yard.repository.head()


@pytest.mark.threat("git.symlink", "git.submodule", "git.deep-path", "git.large-blob", "git.commit-on-main")
def test_a_commit_of_things_that_are_no_files_is_quarantined_and_the_next_merge_runs(yard):
    yard.roll_out({box("orders"): document("Box", size=1)})
    deep = "/".join(["resources", *("x" * 20), "deep.yml"])
    refused = {
        box("orders"): "Here is a symbolic link; only regular files are read.",
        box("module"): "Here is a submodule; only regular files are read.",
        deep.removesuffix(
            "/x/x/x/x/deep.yml"
        ): "Here is more than 16 folders in each other; only regular files are read.",
        box("huge"): "The file has 3,000,000 bytes, and 1,000,000 are allowed: split it.",
        "systems/shelf-b.yml": "Here is a symbolic link; only regular files are read.",
    }
    direct = put_on_main(
        yard,
        (b"120000", box("orders").encode(), document("Box", size=66).encode()),
        (b"160000", box("module").encode(), yard.first),
        (b"100644", deep.encode(), document("Box").encode()),
        (b"100644", box("huge").encode(), b"#" * 3_000_000),
        (b"120000", b"systems/shelf-b.yml", b"shelf-a.yml"),
        (b"100644", b"resources/caf\xe9.yml", b"kind: Box"),
    )
    assert discover_commits()
    assert Commit.objects.get(sha=direct).quarantined
    problems = snapshot(yard.repository, direct, catalog()).problems
    assert {path: problems[path][0].message for path in refused} == refused
    assert yard.resource(box("orders")).sync == "unapproved"
    assert (health.repository().state, Cursor.objects.get().alarm) == ("ok", "")

    yard.roll_out({box("refunds"): document("Box"), box("more", "shelf-b"): document("Box")})
    assert (yard.stored("orders")["size"], yard.stored("refunds") is None) == (1, False)
    [other] = yard.items(system="shelf-b")
    assert (other.state, "without an approved change request" in other.reason) == ("failed", True)
    yard.roll_out({box("orders"): document("Box", size=2), box("huge"): None})
    assert (yard.stored("orders")["size"], yard.resource(box("orders")).sync) == (2, "synced")


def test_a_discovery_that_breaks_again_and_again_is_an_alarm(yard):
    """Whatever it is: here the repository lost an object."""
    assert not discover_commits()
    yard.merge({box("orders"): document("Box")})
    blob = yard.repository.blob_at(yard.repository.head(), box("orders"))
    lost = yard.repository.path / "objects" / blob[:2] / blob[2:]
    kept = lost.read_bytes()
    lost.unlink()
    for alarms in (False, False, True):
        reconcile()
        assert bool(Cursor.objects.get().alarm) == alarms
    check = health.repository()
    assert (check.state, blob in check.sentence) == ("bad", True)
    assert "so no merge becomes work" in check.sentence
    assert "operations page" in check.todo
    lost.write_bytes(kept)
    reconcile()
    assert (Cursor.objects.get().alarm, yard.resource(box("orders")).sync) == ("", "pending")


def test_the_whole_tree_is_work_when_it_is_not_applied_yet(yard):
    yard.merge({box("orders"): document("Box"), box("refunds", "shelf-b"): document("Box")})
    for model in (WorkItem, Rollout, Resource, Cursor, Commit):
        model.objects.all().delete()
    initialise(yard.repository.head(), applied=False)
    assert Rollout.objects.get().cause == "initial"
    assert [item.system for item in yard.items()] == ["shelf-a", "shelf-b"]
    initialise(yard.repository.head(), applied=False)
    assert Rollout.objects.count() == 1


def test_a_moved_document_is_a_transfer_and_nothing_is_deleted(yard):
    yard.roll_out({box("orders"): document("Box", name="orders")})
    new = box("orders-of-payments")
    yard.roll_out({box("orders"): None, new: document("Box", name="orders")})
    row = yard.result(new)
    assert (row.operation, row.old_path, row.result) == ("transfer", box("orders"), "unchanged")
    assert Resource.objects.get().path == new


def test_a_document_that_names_another_thing_brings_it_and_takes_the_old_one_away(yard):
    yard.roll_out({box("orders"): document("Box", name="old")})
    yard.roll_out({box("orders"): document("Box", name="new")})
    last = Rollout.objects.latest("pk")
    assert [(item.wave, row.operation) for item in yard.items(rollout=last) for row in item.resources.all()] == [
        (0, "update"),
        (1, "delete"),
    ]
    assert (yard.stored("old"), yard.stored("new")["name"]) == (None, "new")
