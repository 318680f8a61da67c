"""The git work of one bare repository, against git itself."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from changes.repository import Conflict, Person, RefMoved, Repository, RepositoryError
from changes.repository.mirror import Mirror
from tests.conftest import not_tested

ANNA = Person("Anna", "anna@users.mergeyard.invalid")
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORDERS = "resources/payments/kafka-prod/KafkaTopic/orders.yml"
REFUNDS = "resources/payments/kafka-prod/KafkaTopic/refunds.yml"
TEAM = "teams/payments.yml"


@pytest.fixture
def repository(tmp_path):
    return Repository.create(tmp_path / "state.git")


def commit(repository, changes, *parents, base=None):
    return repository.commit(
        parents=parents,
        base_tree_of=base or (parents[0] if parents else None),
        changes=changes,
        message="Change",
        author=ANNA,
        committer=ANNA,
        when=WHEN,
    )


def test_a_worker_reads_a_repository_of_another_user(repository):
    sha = commit(repository, {ORDERS: b"a"})
    if os.geteuid():
        not_tested.append("not tested: a repository of another user: files cannot be given away here")
        pytest.skip(not_tested[-1])
    os.chown(repository.path, 65534, 65534)
    assert Repository(repository.path).read(sha, ORDERS) == b"a"


@pytest.mark.threat("faults.power-cut")
def test_what_the_disk_does_not_keep_for_certain_is_no_commit_and_no_move(repository):
    first = commit(repository, {ORDERS: b"a"})
    more = commit(repository, {ORDERS: b"b"}, first)
    repository.swap_ref("refs/heads/main", first, None)
    argv = [sys.executable, "-m", "tests.changes.no_sync", str(repository.path), first, more]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
    assert repository.branches() == {"main": first}


def git(repository, *arguments):
    done = subprocess.run(["git", f"--git-dir={repository.path}", *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.mark.threat("git.tag")
def test_a_tag_with_the_name_of_a_branch_is_not_taken_for_it(repository):
    first = commit(repository, {TEAM: b"a"})
    other = commit(repository, {TEAM: b"b"}, first)
    for name in ("main", "change/1"):
        repository.swap_ref(f"refs/heads/{name}", first, None)
        git(repository, "tag", name, other)
        assert repository.resolve(name) == first
    assert (repository.main(), repository.branches()) == (first, {"main": first, "change/1": first})
    repository.swap_ref("refs/heads/main", other, first)
    assert repository.main() == other


def test_a_commit_is_what_git_reads(repository):
    first = commit(repository, {ORDERS: b"one\n", TEAM: b"team\n"})
    second = commit(repository, {ORDERS: b"two\n", REFUNDS: b"new\n"}, first)
    assert git(repository, "ls-tree", "-r", "--name-only", second).split() == [ORDERS, REFUNDS, TEAM]
    assert git(repository, "show", f"{second}:{ORDERS}") == "two"
    assert git(repository, "fsck", "--strict", "--no-dangling") == ""
    assert git(repository, "log", "-1", "--format=%an %ae %ct", second) == f"Anna {ANNA.email} {int(WHEN.timestamp())}"


def test_deleting_the_last_file_of_a_folder_deletes_the_folder(repository):
    first = commit(repository, {ORDERS: b"one\n", TEAM: b"team\n"})
    second = commit(repository, {ORDERS: None}, first)
    assert git(repository, "ls-tree", "-r", "-t", "--name-only", second).split() == ["teams", TEAM]


def test_deleting_what_is_not_there_changes_nothing(repository):
    first = commit(repository, {TEAM: b"team\n"})
    assert repository.info(commit(repository, {ORDERS: None}, first)).tree == repository.info(first).tree


def test_the_difference_names_each_path_with_both_blobs(repository):
    first = commit(repository, {ORDERS: b"one\n", TEAM: b"team\n"})
    second = commit(repository, {ORDERS: None, REFUNDS: b"new\n", TEAM: b"other\n"}, first)
    assert repository.diff(first, second) == {
        ORDERS: (repository.blob_at(first, ORDERS), None),
        REFUNDS: (None, repository.blob_at(second, REFUNDS)),
        TEAM: (repository.blob_at(first, TEAM), repository.blob_at(second, TEAM)),
    }
    assert repository.diff(second, second) == {}
    assert set(repository.files(second)) == {REFUNDS, TEAM}


def test_a_file_that_becomes_a_folder_is_a_deletion_and_a_new_file(repository):
    first = commit(repository, {"teams": b"a file\n"})
    second = commit(repository, {"teams": None, "mergeyard.yml": b"x\n"}, first)
    third = commit(repository, {TEAM: b"team\n"}, second)
    assert repository.diff(first, third) == {
        "mergeyard.yml": (None, repository.blob_at(third, "mergeyard.yml")),
        "teams": (repository.blob_at(first, "teams"), None),
        TEAM: (None, repository.blob_at(third, TEAM)),
    }


def test_a_merge_takes_their_changes_onto_ours(repository):
    base = commit(repository, {ORDERS: b"one\n", TEAM: b"team\n"})
    ours = commit(repository, {TEAM: b"ours\n"}, base)
    theirs = commit(repository, {ORDERS: b"theirs\n"}, base)
    changes = repository.merge_trees(base, ours, theirs)
    assert changes == {ORDERS: (repository.blob_at(base, ORDERS), repository.blob_at(theirs, ORDERS))}
    merged = commit(repository, {path: new for path, (_, new) in changes.items()}, ours, theirs)
    assert repository.read(merged, TEAM) == b"ours\n"
    assert repository.read(merged, ORDERS) == b"theirs\n"


def test_a_path_changed_on_both_sides_is_a_conflict(repository):
    base = commit(repository, {ORDERS: b"one\n", TEAM: b"team\n"})
    ours = commit(repository, {ORDERS: b"ours\n"}, base)
    theirs = commit(repository, {ORDERS: None, TEAM: b"theirs\n"}, base)
    assert repository.merge_trees(base, ours, theirs) == Conflict((ORDERS,))


def test_the_same_change_on_both_sides_is_no_conflict(repository):
    base = commit(repository, {ORDERS: b"one\n"})
    ours = commit(repository, {ORDERS: b"same\n", TEAM: b"x\n"}, base)
    theirs = commit(repository, {ORDERS: b"same\n"}, base)
    assert repository.merge_trees(base, ours, theirs) == {}


@pytest.mark.threat("approval.base-moved")
def test_a_ref_moves_only_from_where_it_was_seen(repository):
    first = commit(repository, {TEAM: b"1\n"})
    second = commit(repository, {TEAM: b"2\n"}, first)
    third = commit(repository, {TEAM: b"3\n"}, first)
    repository.swap_ref("refs/heads/main", first, None)
    with pytest.raises(RefMoved):
        repository.swap_ref("refs/heads/main", second, None)
    repository.swap_ref("refs/heads/main", second, first)
    with pytest.raises(RefMoved):
        repository.swap_ref("refs/heads/main", third, first)
    assert repository.head() == second
    git(repository, "pack-refs", "--all")
    repository.swap_ref("refs/heads/main", third, second)
    assert git(repository, "rev-parse", "refs/heads/main") == third


def test_of_many_who_move_a_ref_at_once_one_wins(repository):
    first = commit(repository, {TEAM: b"0\n"})
    repository.swap_ref("refs/heads/main", first, None)
    heads = [commit(repository, {TEAM: f"{n}\n".encode()}, first) for n in range(1, 9)]
    won, barrier = [], threading.Barrier(len(heads))

    def swap(head):
        barrier.wait()
        try:
            repository.swap_ref("refs/heads/main", head, first)
            won.append(head)
        except RefMoved:
            pass

    threads = [threading.Thread(target=swap, args=[head]) for head in heads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [repository.head()]


FULL = """
import sys
from pathlib import Path
from changes.repository import RepositoryError
from tests.changes import test_repository as t
repository = t.Repository.create(Path(sys.argv[1]) / "state.git")
first = t.commit(repository, {t.TEAM: b"1"})
repository.swap_ref("refs/heads/main", first, None)
filling = Path(sys.argv[1]) / "filling"
try:
    filling.write_bytes(bytes(2_000_000))
except OSError:
    pass
try:
    repository.swap_ref("refs/heads/main", t.commit(repository, {t.TEAM: b"2", t.ORDERS: b"3"}, first), first)
except RepositoryError as error:
    print(error)
assert repository.head() == first and repository.read(first, t.TEAM) == b"1"
filling.unlink()
repository.swap_ref("refs/heads/main", t.commit(repository, {t.TEAM: b"2"}, first), first)
t.git(repository, "fsck", "--strict")
print("goes on")
"""


@pytest.mark.threat("faults.disk-repository")
def test_a_full_disk_is_said_and_moves_nothing(tmp_path):
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"', str(tmp_path)]
    if subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("not tested: a full disk below the repository: file systems cannot be mounted here")
    done = subprocess.run([*mount, sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    said, goes_on = done.stdout.splitlines() or ["", done.stderr]
    assert "No space left" in said
    assert goes_on == "goes on"


def test_history_is_walked_along_first_parents(repository):
    first = commit(repository, {ORDERS: b"1\n"})
    side = commit(repository, {ORDERS: b"2\n"}, first)
    other = commit(repository, {TEAM: b"1\n"}, first)
    merged = commit(repository, {ORDERS: b"2\n"}, other, side)
    repository.swap_ref("refs/heads/main", merged, None)
    assert repository.first_parents(first, merged) == [other, merged]
    assert repository.first_parents(None, merged) == [first, other, merged]
    assert [info.sha for info in repository.commits_touching(ORDERS, limit=9)] == [merged, first]
    assert [info.sha for info in repository.new_commits(side, [other])] == [side]
    assert repository.merge_base(side, other) == first
    assert repository.contains(merged, side)
    assert not repository.contains(side, merged)
    with pytest.raises(RepositoryError, match="not on that line"):
        repository.first_parents(side, merged)


def test_a_text_difference_has_hunks_with_signs(repository):
    old, new = repository.write_blob(b"a\nb\nc\n"), repository.write_blob(b"a\nB\nc\n")
    (hunk,) = repository.text_diff(old, new)
    assert hunk.lines == ((" ", "a"), ("-", "b"), ("+", "B"), (" ", "c"))
    (created,) = repository.text_diff(None, new)
    assert [sign for sign, _ in created.lines] == ["+", "+", "+"]


@pytest.mark.threat("git.signers")
def test_names_cannot_break_the_lines_of_a_commit(repository):
    sha = repository.commit(
        parents=[],
        base_tree_of=None,
        changes={TEAM: b"x\n"},
        message="Change",
        author=Person("Eve <root@x>\ncommitter Bob", "eve@x\n"),
        committer=ANNA,
        when=WHEN,
    )
    assert repository.info(sha).author == Person("Eve root@xcommitter Bob", "eve@x")
    assert git(repository, "fsck", "--strict", "--no-dangling") == ""


def test_a_missing_repository_is_said(tmp_path):
    with pytest.raises(RepositoryError, match="opening the repository"):
        Repository(tmp_path / "nothing.git").head()


def test_a_mirror_fetches_a_commit_it_does_not_have(repository, tmp_path):
    first = commit(repository, {TEAM: b"1\n"})
    repository.swap_ref("refs/heads/main", first, None)
    mirror = Mirror(tmp_path / "mirror.git", f"file://{repository.path}", protocols="file")
    assert mirror.ensure(first).read(first, TEAM) == b"1\n"
    second = commit(repository, {TEAM: b"2\n"}, first)
    with pytest.raises(RepositoryError, match="does not contain it"):
        mirror.ensure(second)
    repository.swap_ref("refs/heads/main", second, first)
    assert mirror.ensure(second).read(second, TEAM) == b"2\n"


@pytest.mark.threat("faults.left-lock")
@pytest.mark.parametrize("name", ["refs/heads/main.lock", "HEAD.lock"])
def test_a_lock_that_a_killed_fetch_left_is_removed(repository, tmp_path, name):
    first = commit(repository, {TEAM: b"1\n"})
    second = commit(repository, {TEAM: b"2\n"}, first)
    third = commit(repository, {TEAM: b"3\n"}, second)
    repository.swap_ref("refs/heads/main", first, None)
    mirror = Mirror(tmp_path / "mirror.git", f"file://{repository.path}", protocols="file")
    lock = mirror.ensure(first).path / name
    lock.touch()
    repository.swap_ref("refs/heads/main", second, first)
    with pytest.raises(RepositoryError, match="fetching main"):
        mirror.ensure(second)
    os.utime(lock, times=(0, 0))
    mirror._again = 0.0
    repository.swap_ref("refs/heads/main", third, second)
    assert mirror.ensure(third).main() == third
    assert not lock.exists()


@pytest.mark.threat("git.options")
def test_a_mirror_speaks_no_other_protocol_than_it_was_given(repository, tmp_path):
    with pytest.raises(RepositoryError, match="fetching main"):
        Mirror(tmp_path / "mirror.git", f"ext::sh -c touch% {tmp_path}/marker").ensure("1" * 40)
    assert not (tmp_path / "marker").exists()
