"""`manage.py init` and what it refuses."""

import io
import subprocess

import pytest
from django.core.management import CommandError, call_command

from changes import setup
from changes.models import MergeIntent
from changes.repository import Repository
from executors.models import Commit, Cursor
from tests.changes.conftest import FILES, ORDERS


@pytest.fixture
def repository(db, settings, tmp_path, small_catalog):
    settings.MERGEYARD_REPOSITORY = tmp_path / "state.git"
    return Repository(settings.MERGEYARD_REPOSITORY)


def init(*arguments):
    said = io.StringIO()
    call_command("init", *arguments, stdout=said, skip_checks=True)
    return said.getvalue()


@pytest.fixture
def existing(repository, office):
    MergeIntent.objects.all().delete()
    return repository


def test_an_empty_place_gets_its_first_commit(repository):
    assert "is set up at" in init("--member", "pia", "--title", "Our yard")
    main = repository.main()
    assert set(repository.files(main)) == {"mergeyard.yml", "teams/platform.yml"}
    assert MergeIntent.objects.get().commit == Cursor.objects.get().sha == main
    assert "is set up already" in init()


def test_a_new_repository_needs_somebody(repository):
    with pytest.raises(CommandError, match="--member USERNAME"):
        init()


def test_a_repository_with_documents_asks_what_they_are(existing):
    with pytest.raises(CommandError, match="Say --all if they are work"):
        init()
    init("--all")
    assert Cursor.objects.get().sha == existing.main()


def test_a_repository_with_a_submodule_is_not_taken_over(existing):
    tree = ["git", f"--git-dir={existing.path}", "fast-import", "--quiet"]
    head = existing.main()
    order = f"commit refs/heads/main\ncommitter M <m@x> 0 +0000\ndata 0\nfrom {head}\nM 160000 {head} {ORDERS}\n"
    subprocess.run(tree, input=order.encode(), check=True)
    with pytest.raises(CommandError, match=f"{ORDERS}: Here is a submodule"):
        init("--all")


def test_commits_after_the_one_that_is_applied_are_vouched_for(existing, office):
    first = existing.main()
    second = office.commit_by_hand({ORDERS: b"kind: Box\nspec:\n  size: 4\n"})
    assert "is applied already" in init("--from", first)
    assert Cursor.objects.get().sha == first
    assert list(MergeIntent.objects.order_by("id").values_list("commit", "base")) == [(first, ""), (second, first)]
    from executors.discovery import discover

    assert discover()
    assert list(Commit.objects.values_list("sha", "quarantined")) == [(first, False), (second, False)]


def test_after_a_restore_what_the_database_does_not_know_is_vouched_for(existing, office):
    """A repository that is newer than its database: the rows of its merges were lost."""
    first = existing.main()
    init("--all")
    second = office.commit_by_hand({ORDERS: b"kind: Box\nspec:\n  size: 4\n"})
    assert "Nothing was changed" in init()
    assert f"got after {first[:10]} counts as approved" in init("--vouch")
    from executors.discovery import discover

    assert discover()
    assert list(Commit.objects.values_list("sha", "quarantined")) == [(first, False), (second, False)]


def test_nothing_is_vouched_for_where_the_repository_is_the_older_one(existing):
    init("--all")
    Cursor.objects.update(sha="a" * 40)
    with pytest.raises(CommandError, match="a{40} is no branch and no commit"):
        init("--vouch")


def test_a_commit_that_is_not_on_main_is_refused(existing):
    with pytest.raises(CommandError, match="is no branch and no commit"):
        init("--from", "nothing")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mergeyard.yml": None}, "mergeyard.yml is missing"),
        ({"teams/platform.yml": "title: Platform\nmembers: []\n"}, "has no members"),
        ({ORDERS: "kind: Box\nspec:\n  size: 0\n"}, r"orders.yml:3: .*at least 1"),
    ],
)
def test_a_tree_that_cannot_be_used_is_refused_with_file_and_line(repository, change, sentence):
    files = {path: text.encode() for path, text in (FILES | change).items() if text is not None}
    with pytest.raises(setup.SetupRefused, match=sentence):
        setup.initialise(repository.path, files)


def test_a_folder_that_is_something_else_is_left_alone(repository):
    repository.path.mkdir()
    (repository.path / "precious").write_text("x")
    with pytest.raises(CommandError, match="is not empty and is no bare git repository"):
        init("--member", "pia")
