"""A catalogue folder that comes from git is that of one commit, whatever its branches do, and says so."""

import shutil
from datetime import UTC, datetime

import pytest

from changes.catalog import CatalogError, catalog
from changes.repository import MAIN_REF, Person, Repository, RepositoryError
from changes.repository.pinned import folder_of
from tests.changes.conftest import CATALOG

ANN = Person("Ann", "ann@example.org")


def committed(repository, changes, parent=None):
    return repository.commit(
        parents=[parent] if parent else [],
        base_tree_of=parent,
        changes=changes,
        message="types",
        author=ANN,
        committer=ANN,
        when=datetime.now(UTC),
    )


@pytest.fixture
def elsewhere(tmp_path):
    """A repository with the shelf type below types/; returns it and the commit."""
    repository = Repository.create(tmp_path / "elsewhere.git")
    files = {
        f"types/{path.relative_to(CATALOG).as_posix()}": path.read_bytes()
        for path in (CATALOG / "shelf").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    commit = committed(repository, files)
    repository.swap_ref(MAIN_REF, commit, None)
    return repository, commit


def source(repository, commit, folder="types"):
    return f"git+file://{repository.path}@{commit}#{folder}"


def test_its_types_are_those_of_the_commit_and_say_where_they_come_from(elsewhere, settings, tmp_path):
    repository, commit = elsewhere
    settings.MERGEYARD_HOME, settings.MERGEYARD_CATALOG = tmp_path / "home", [source(repository, commit)]
    catalog.cache_clear()
    assert catalog().types["shelf"].origin == f"file://{repository.path}@{commit}"
    later = committed(repository, {"types/shelf/system.yml": b"broken: true\n"}, commit)
    repository.swap_ref(MAIN_REF, later, commit)
    catalog.cache_clear()
    assert "shelf" in catalog().types
    catalog.cache_clear()


def test_what_was_fetched_needs_the_remote_no_more(elsewhere, tmp_path):
    repository, commit = elsewhere
    first = folder_of(source(repository, commit), tmp_path / "home")
    shutil.rmtree(repository.path)
    assert folder_of(source(repository, commit), tmp_path / "home") == first
    assert (first.path / "shelf" / "system.yml").is_file()


@pytest.mark.parametrize("pin", ["main", "v1", "a" * 39, "a" * 40 + "#../.."])
def test_only_a_whole_commit_and_a_folder_within_it_will_do(elsewhere, tmp_path, pin):
    repository, commit = elsewhere
    pin = pin.replace("a" * 40, commit)
    with pytest.raises(RepositoryError, match="40 digits|has no folder"):
        folder_of(f"git+file://{repository.path}@{pin}", tmp_path / "home")


def test_a_commit_that_is_nowhere_is_one_problem_of_the_catalogue(elsewhere, settings, tmp_path):
    repository, _ = elsewhere
    settings.MERGEYARD_HOME, settings.MERGEYARD_CATALOG = tmp_path / "home", [source(repository, "b" * 40)]
    catalog.cache_clear()
    with pytest.raises(CatalogError, match="does not contain it"):
        catalog()
