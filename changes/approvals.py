"""Who must say yes to which plan item, and who has.

Pure. The rules are those of the main branch, never of the change itself. A resource needs an owner of its system and,
when the requester is not of the document's team, somebody of that team; a transfer needs both sides. The yes of who had
a hand in the change never counts, nor a word of who cannot sign in. The no of anybody who is asked counts, except the
requester's: a hand in the change does not take it away, since anybody can name its speaker as an author. A rule that
leaves nobody is shown as one that cannot be met, and never as an approval.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from changes.declarations import OWNERS, System
from changes.documents import Address
from changes.plan import Operation, Plan, PlanItem
from changes.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Fact:
    """What one person said about plan items, each named by its digest. A later fact replaces an earlier one."""

    user: str
    decision: Literal["yes", "no"]
    items: frozenset[str]


@dataclass(frozen=True, slots=True)
class People:
    """Who is who around a request: who asked, who had a hand in it, and who can sign in at all."""

    requester: str
    barred: frozenset[str]
    able: frozenset[str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """`count` of the `candidates` must say yes to one plan item, and none of the `asked` no.

    Asked are all members of the teams but the requester; candidates are those of them who had no hand in it.
    """

    id: str
    digest: str
    path: str
    teams: tuple[str, ...]
    sentence: str
    count: int
    asked: frozenset[str]
    candidates: frozenset[str]
    given: tuple[str, ...]
    declined: tuple[str, ...]

    @property
    def met(self) -> bool:
        return len(self.given) >= self.count and not self.declined

    @property
    def possible(self) -> bool:
        return len(self.candidates) >= self.count


@dataclass(frozen=True, slots=True)
class _Ask:
    """A demand before it is known who may answer it."""

    id: str
    teams: tuple[str, ...]
    count: int
    whom: str


def requirements(plan: Plan, *, rules: Snapshot, people: People, facts: Iterable[Fact] = ()) -> tuple[Requirement, ...]:
    """All requirements of a plan, item by item."""
    said = _latest(facts)
    found = []
    for item in plan.items:
        for ask in _asks(item, rules, people.requester):
            asked = rules.members_of(ask.teams) & people.able - {people.requester}
            candidates = asked - people.barred
            answers = said.get(item.digest, {})
            found.append(
                Requirement(
                    id=ask.id,
                    digest=item.digest,
                    path=item.path,
                    teams=ask.teams,
                    sentence=_sentence(ask),
                    count=ask.count,
                    asked=asked,
                    candidates=candidates,
                    given=_who(answers, "yes", candidates),
                    declined=_who(answers, "no", asked),
                )
            )
    return tuple(found)


def asked_for(address: Address, *, rules: Snapshot, requester: str) -> tuple[str, ...]:
    """Who would have to say yes to a new document at an address, in words."""
    return tuple(_sentence(ask) for ask in _resource_asks((address,), Operation.CREATE, rules, requester))


def may_approve(user: str, requirements: Iterable[Requirement]) -> frozenset[str]:
    """The digests of the items that this person's yes counts for."""
    return frozenset(requirement.digest for requirement in requirements if user in requirement.candidates)


def may_decline(user: str, requirements: Iterable[Requirement]) -> frozenset[str]:
    """The digests of the items that this person's no counts for."""
    return frozenset(requirement.digest for requirement in requirements if user in requirement.asked)


def declined_by(user: str, requirements: Iterable[Requirement]) -> frozenset[str]:
    """The digests of the items that this person said no to, and may say yes to at least to take that back."""
    return frozenset(requirement.digest for requirement in requirements if user in requirement.declined)


def _latest(facts: Iterable[Fact]) -> dict[str, dict[str, str]]:
    """Digest -> user -> the last decision."""
    said: dict[str, dict[str, str]] = {}
    for fact in facts:
        for digest in fact.items:
            said.setdefault(digest, {})[fact.user] = fact.decision
    return said


def _who(answers: dict[str, str], decision: str, whose: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(user for user, said in answers.items() if said == decision and user in whose))


def _sentence(ask: _Ask) -> str:
    return f"{'One' if ask.count == 1 else ask.count} of {ask.whom}"


def _asks(item: PlanItem, rules: Snapshot, requester: str) -> list[_Ask]:
    if item.path.startswith("resources/"):
        addresses = tuple(address for address in (item.address, item.old_address) if address)
        return _resource_asks(addresses, item.operation, rules, requester)
    asks = [_platform(rules)]
    system = rules.systems.get(item.path.removeprefix("systems/").removesuffix(".yml"))
    if item.path.startswith("systems/") and system:
        asks.append(_owners(system.name, rules, 1))
    return asks


def _resource_asks(addresses: tuple[Address, ...], operation: Operation, rules: Snapshot, requester: str) -> list[_Ask]:
    """The address of a resource, for a transfer also the one that it leaves; none for a path that is no address."""
    if not addresses:
        return [_platform(rules)]
    sides = {address.team for address in addresses}
    foreign = sides if operation is Operation.TRANSFER else sides - rules.teams_of(requester)
    counts = dict.fromkeys(foreign & rules.teams.keys(), 1)
    asks = []
    if system := rules.systems.get(addresses[0].system):
        counts = _counts(counts, rules, _facts(addresses[0], system, sides))
        asks.append(_owners(system.name, rules, counts.pop(OWNERS)))
    if not system or foreign - rules.teams.keys():
        asks.append(_platform(rules))  # it speaks for a system or a team that main does not know
    return asks + [_team(team, counts[team]) for team in sorted(counts)]


def _counts(least: dict[str, int], rules: Snapshot, facts: dict[str, set[str]]) -> dict[str, int]:
    """How many of the owners and of each team, by the policies that match; at least what is asked for anyway."""
    counts = {OWNERS: 1, **least}
    for policy in rules.policies:
        rule = policy.approvals
        if rule and all(value in facts[key] for key, value in policy.match.items()):
            counts[rule.from_] = max(counts.get(rule.from_, 1), rule.count)
    return counts


def _platform(rules: Snapshot) -> _Ask:
    team = rules.platform_team
    return _Ask(f"platform:{team}", (team,) if team else (), 1, f"the platform team ({team or 'none is declared'})")


def _owners(system: str, rules: Snapshot, count: int) -> _Ask:
    teams = rules.systems[system].owners
    return _Ask(f"owners:{system}", teams, count, f"the owners of {system} ({', '.join(teams)})")


def _team(team: str, count: int) -> _Ask:
    return _Ask(f"team:{team}", (team,), count, f"the team {team}")


def _facts(address: Address, system: System, teams: set[str]) -> dict[str, set[str]]:
    """What a policy can match on; a transfer is of both teams."""
    return {
        "environment": {system.environment},
        "system": {system.name},
        "type": {system.type},
        "kind": {address.kind},
        "team": teams,
    }
