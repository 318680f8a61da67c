"""What a person may do and see: computed from `teams/*.yml` and `systems/*.yml` of main, never from a database row.

Reading documents, plans and history is for every signed-in person. Without a readable main nobody has any right, and a
file that a commit changed without a change request gives no right: it counts as it was approved last.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from changes.catalog import catalog
from changes.models import User
from changes.repository import RepositoryError, state
from changes.repository.snapshots import snapshot
from changes.rules import rules_at
from changes.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Rights:
    """One person's rights by main's rules."""

    username: str
    teams: frozenset[str]
    is_platform: bool
    owned_systems: frozenset[str]
    is_auditor: bool = False

    @property
    def reads_all(self) -> bool:
        """Every log, answer and output; says nothing of what this person may do."""
        return self.is_platform or self.is_auditor

    def owns(self, system: str) -> bool:
        return system in self.owned_systems

    def can_edit(self, team: str) -> bool:
        """May this person ask for changes to the team's resources?"""
        return team in self.teams

    def can_see_logs(self, *, teams: Iterable[str], systems: Iterable[str]) -> bool:
        """Logs, answers and outputs: these teams, the systems' owners, the platform team and auditors."""
        return self.reads_all or not self.teams.isdisjoint(teams) or any(map(self.owns, systems))


def main_snapshot() -> Snapshot:
    """What main says now. Raises RepositoryError when there is no main."""
    repository = state()
    return snapshot(repository, repository.main(), catalog())


def approved_snapshot() -> Snapshot:
    """Main with its declarations as they were approved last. Raises RepositoryError when there is no main."""
    repository = state()
    return rules_at(repository, repository.main()).in_force


def can_sign_in() -> frozenset[str]:
    """The user names of everybody whose account is open."""
    return frozenset(User.objects.filter(is_active=True).values_list("username", flat=True))


def rights_of(user: User) -> Rights:
    if not user.is_authenticated or not user.is_active:
        return Rights(user.username, frozenset(), False, frozenset())
    try:
        rules = approved_snapshot()
    except RepositoryError:
        return Rights(user.username, frozenset(), False, frozenset())
    return rights_under(rules, user.username)


def rights_under(rules: Snapshot, username: str) -> Rights:
    return Rights(
        username=username,
        teams=rules.teams_of(username),
        is_platform=rules.is_platform(username),
        owned_systems=frozenset(name for name in rules.systems if username in rules.owners_of(name)),
        is_auditor=rules.is_auditor(username),
    )
