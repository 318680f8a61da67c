"""The beginning: a new state repository with its first commit, or an existing one looked over and taken on.

Owns nothing after that. Knows no queue; what becomes of the first commit's documents is the executors' part.
"""

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from django.utils import timezone

from changes.catalog import catalog
from changes.crash_points import crash_point
from changes.models import MergeIntent
from changes.repository import MAIN_REF, RefMoved, Repository, RepositoryError
from changes.repository.snapshots import snapshot
from changes.states import IntentState
from changes.workflow.people import MERGEYARD

SHOWN_PROBLEMS = 10


class SetupRefused(Exception):
    """The repository cannot be set up like that; the text says why and what to do."""


def first_files(*, title: str, platform_team: str, members: Iterable[str]) -> dict[str, bytes]:
    """The two files that every state repository has."""
    names = "".join(f"\n  - {json.dumps(name)}" for name in members)
    team = f"title: {json.dumps(platform_team.replace('-', ' ').capitalize())}\nmembers:{names or ' []'}\n"
    site = f"format: 1\ntitle: {json.dumps(title)}\nplatform_team: {platform_team}\n"
    return {"mergeyard.yml": site.encode(), f"teams/{platform_team}.yml": team.encode()}


def is_empty(path: Path) -> bool:
    """Is there no main branch yet?"""
    repository = Repository(path)
    return not repository.exists() or repository.head(MAIN_REF) is None


def initialise(path: Path, files: Mapping[str, bytes], *, message: str = "Begin the state repository") -> str:
    """Make the repository at `path` with one commit on main that holds `files`; the commit's id."""
    repository = Repository(path)
    if not repository.exists():
        if path.exists() and any(path.iterdir()):
            raise SetupRefused(f"{path} is not empty and is no bare git repository: choose another place for it.")
        repository = Repository.create(path)
    commit = repository.commit(
        parents=[],
        base_tree_of=None,
        changes=files,
        message=message.strip() + "\n",
        author=MERGEYARD,
        committer=MERGEYARD,
        when=timezone.now(),
    )
    verify(repository, commit)
    intent, _ = MergeIntent.objects.get_or_create(commit=commit, defaults={"base": "", "head": commit})
    try:
        repository.swap_ref(MAIN_REF, commit, None)
    except RefMoved as moved:
        MergeIntent.objects.filter(pk=intent.pk).update(state=IntentState.DROPPED)
        raise SetupRefused(f"{path} has a main branch already.") from moved
    crash_point("setup: main made")
    MergeIntent.objects.filter(pk=intent.pk).update(state=IntentState.DONE)
    return commit


def adopt(path: Path, *, since: str | None = None) -> str:
    """Look over an existing repository; the commit to begin at: `since`, a commit of main, or its head.

    Commits of main after it were made by hand, and whoever runs this vouches for them; the first time for it, too.
    """
    repository = Repository(path)
    try:
        head = repository.main()
        begin = repository.resolve(since) if since else head
        later = repository.first_parents(begin, head)
    except RepositoryError as problem:
        raise SetupRefused(str(problem)) from problem
    verify(repository, head)
    known = MergeIntent.objects.filter(base="").exclude(state=IntentState.DROPPED).exists()
    for parent, commit in pairwise([begin, *later] if known else ["", begin, *later]):
        MergeIntent.objects.get_or_create(
            commit=commit, defaults={"base": parent, "head": commit, "state": IntentState.DONE}
        )
    return begin


def verify(repository: Repository, commit: str) -> None:
    """Refuse a tree that Mergeyard cannot work from, with the first problems of it."""
    found = snapshot(repository, commit, catalog())
    problems = [
        f"{path}{f':{problem.line}' if problem.line else ''}: {problem.message}"
        for path, several in sorted(found.problems.items())
        for problem in several
    ]
    if found.site is None and "mergeyard.yml" not in found.problems:
        problems.insert(0, "mergeyard.yml is missing: it holds `format: 1` and `platform_team: <team>`.")
    elif found.site is not None and not found.members_of([found.platform_team]):
        problems.insert(0, f"teams/{found.platform_team}.yml has no members, so nobody could approve anything.")
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        lines = problems[:SHOWN_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])
        raise SetupRefused("The state repository cannot be used as it is:\n" + "\n".join(f"- {line}" for line in lines))
