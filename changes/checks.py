"""What stands against a plan: reasons with a stable id and a sentence that says what to do.

Pure. Every check always runs, none raises, none decides. A check sees the change only: what is wrong with files that
the change does not touch is not its fault, unless the change breaks what the tree as a whole must hold.

Limits, per system, as the system's file on main says: more deletes than `max_deletes` is refused; more updates,
transfers and deletes together than `max_change_percent` of the documents the system has now is refused, unless it has
fewer than MIN_FOR_PERCENT. Creating is never held back by them. A limit of null does not hold.

Quotas, per team and kind, as the team's file on main says: what the team has may not grow beyond them.
"""

from collections.abc import Iterable, Iterator

from changes.approvals import Requirement
from changes.declarations import System
from changes.documents import Document, Problem, did_you_mean
from changes.kinds import MAX_IDENTITY, Catalog, Kind
from changes.plan import Operation, Plan, PlanItem
from changes.references import cycles, missing_references, still_referenced
from changes.schema import line_of, values_at
from changes.secret_refs import SYSTEM_SECRETS
from changes.secret_rules import document_secrets, system_secrets
from changes.snapshot import SITE_FILE, Snapshot, claims
from changes.violations import Change, Violation, at

__all__ = ["CHECKS", "MIN_FOR_PERCENT", "Violation", "nobody_left", "run_checks"]

MIN_FOR_PERCENT = 10
FIXES = {  # by the problem's id, else by its area
    "path": "Move the file to the path of what it describes.",
    "yaml": "Correct the line and check again.",
    "suspicious": "Type the line again, without copying it.",
    "yaml.size": "Put a part of it into a file of its own.",
    "yaml.nodes": "Put a part of it into a file of its own.",
    "yaml.empty": "Write what the file shall say, or delete it.",
    "yaml.encoding": "Save the file as plain UTF-8 and check again.",
    "path.releases": "Take the file out of the request.",
}


def run_checks(
    plan: Plan,
    *,
    base: Snapshot,
    head: Snapshot,
    catalog: Catalog,
    requester: str,
    system_secrets: Iterable[str] = SYSTEM_SECRETS,
) -> tuple[Violation, ...]:
    """Every violation of a plan, in the order of its items."""
    change = Change(plan, base, head, catalog, requester, tuple(system_secrets))
    found = [violation for check in CHECKS for violation in check(change)]
    places = {item.path: number for number, item in enumerate(plan.items)}
    return tuple(sorted(dict.fromkeys(found), key=lambda violation: places.get(violation.path, len(places))))


def nobody_left(requirements: Iterable[Requirement]) -> Iterator[Violation]:
    """Requirements that no number of people could meet: an error to be mended, never an approval."""
    for requirement in requirements:
        if not requirement.possible:
            left = f"only {len(requirement.candidates)} of them" if requirement.candidates else "none of them"
            message = f"{requirement.sentence} must approve this, and {left} can: who had a hand in it never may"
            message += ", nor who cannot sign in."
            teams = " or ".join(requirement.teams) or "a platform team in mergeyard.yml"
            fix = f"Ask the platform team to add people to {teams}, or let somebody else make the request."
            yield Violation("approval.nobody", message, requirement.path, fix=fix)


def files(change: Change) -> Iterator[Violation]:
    """Problems of the changed files themselves: YAML, path, schema."""
    for item in change.plan.items:
        for problem in change.head.problems.get(item.path, ()):
            yield _of_problem(problem, item.path)


def _of_problem(problem: Problem, path: str) -> Violation:
    area = problem.id.partition(".")[0]
    id = problem.id if area == "suspicious" else f"file.{problem.id}"
    fix = FIXES.get(problem.id) or FIXES.get(area, "Correct the field and check again.")
    return Violation(id, problem.message, path, problem.field, problem.line, fix)


def ownership(change: Change) -> Iterator[Violation]:
    """A request touches documents of the requester's own teams, or of systems the requester owns."""
    mine = change.base.teams_of(change.requester)
    if change.base.is_platform(change.requester):
        return
    for item in change.plan.resources:
        address = item.address
        if address is None or change.requester in change.base.owners_of(address.system):
            continue
        teams = [address.team, item.old_address.team] if item.old_address else [address.team]
        if not mine.intersection(teams):
            message = f"{change.requester} is not a member of {address.team}, whose document this is."
            fix = f"Let a member of {address.team} make this change, or an owner of {address.system}."
            yield Violation("ownership.team", message, item.path, fix=fix)


def declared(change: Change) -> Iterator[Violation]:
    """A document's team, system and kind exist, and the system's type offers the kind."""
    for _, document in change.documents():
        address, head = document.address, change.head
        if address.team not in head.teams:
            message = f"There is no team {address.team!r}{did_you_mean(address.team, head.teams)}"
            fix = f"Correct the path, or ask the platform team for teams/{address.team}.yml."
            yield Violation("team.unknown", message, address.path, fix=fix)
        system, kind = head.systems.get(address.system), change.catalog.kinds.get(address.kind)
        if system is None:
            message = f"There is no system {address.system!r}{did_you_mean(address.system, head.systems)}"
            fix = f"Correct the path, or ask the platform team for systems/{address.system}.yml."
            yield Violation("system.unknown", message, address.path, fix=fix)
        if kind is None:
            message = f"There is no kind {address.kind!r}{did_you_mean(address.kind, change.catalog.kinds)}"
            yield at(document, "kind", "kind.unknown", message, "Choose a kind of the catalogue.")
        elif system and kind.type != system.type:
            yield _not_offered(document, system, kind, change)


def _not_offered(document: Document, system: System, kind: Kind, change: Change) -> Violation:
    type = change.catalog.types.get(system.type)
    message = f"{system.name} is of type {system.type}, which does not offer {kind.name}."
    fix = f"Choose a system of type {kind.type}"
    fix += f", or one of {', '.join(type.kinds)}." if type and type.kinds else "."
    return at(document, "kind", "kind.not-offered", message, fix)


def identities(change: Change) -> Iterator[Violation]:
    """At most one document per remote identity over all teams, one that can be kept, and a document keeps it."""
    for item, document in change.documents():
        kind = change.catalog.kinds.get(document.address.kind)
        if kind is None:
            continue
        shown, field = kind.shown_identity(document), f"spec.{kind.identity[0]}"
        if longest := kind.longest_of_identity(document):
            message = f"What names this {kind.title} is longer than the {MAX_IDENTITY} characters that can be kept"
            message += "; one that is no ASCII counts six or twelve times."
            yield at(document, f"spec.{longest}", "identity.long", message, "Make it shorter.")
        others = [path for path in change.head.holders(document) if path != item.path]
        if others:
            who = change.head.documents[others[0]].address
            message = f"{kind.title} {shown!r} on {document.address.system} is described by {who} already."
            yield at(
                document, field, "identity.taken", message, "Choose another name, or change that document instead."
            )
        before = change.base.documents.get(item.path)
        if before and kind.identity_of(before) != kind.identity_of(document):
            message = f"{kind.title} {kind.shown_identity(before)!r} cannot become {shown!r} in place."
            fix = "Keep the name; or delete this document and add another one with the new name."
            yield at(document, field, "identity.changed", message, fix)


def exclusive_values(change: Change) -> Iterator[Violation]:
    """What a kind says may stand in one document of a system only, over all teams."""
    for item, document in change.documents():
        kind = change.catalog.kinds.get(document.address.kind)
        for field, value, key in claims(document, change.catalog):
            others = sorted(change.head.claimed.get(key, frozenset()) - {item.path})
            if others and kind:
                who = change.head.documents[others[0]].address
                message = f"{value} on {document.address.system} is in {who} already. {kind.exclusive[field]}"
                fix = "Take it out of one of the two."
                yield at(document, f"spec.{field}", "exclusive.taken", message, fix)


def immutable_fields(change: Change) -> Iterator[Violation]:
    for item, document in change.documents():
        kind = change.catalog.kinds.get(document.address.kind)
        if kind is None or item.base is None:
            continue
        for name, sentence in kind.immutable.items():
            field = f"spec.{name}"
            if any(f"{changed.field}.".startswith(f"{field}.") for changed in item.fields):
                message = f"{field} cannot be changed once the resource exists."
                yield at(document, field, f"immutable.{name}", message, sentence)


def growing_fields(change: Change) -> Iterator[Violation]:
    for item, document in change.documents():
        kind = change.catalog.kinds.get(document.address.kind)
        if kind is None or item.base is None:
            continue
        for changed in item.fields:
            why = kind.grows.get(changed.field.removeprefix("spec."))
            before, after = changed.before, changed.after
            if why and isinstance(before, (int, float)) and isinstance(after, (int, float)) and after < before:
                message = f"{changed.field} cannot go from {before} down to {after}."
                yield at(document, changed.field, "grows.smaller", message, why)


def chosen_from_connection(change: Change) -> Iterator[Violation]:
    """What a system's connection lists is all there is: the value itself, or a path below it."""
    for _, document in change.documents():
        kind = change.catalog.kinds.get(document.address.kind)
        system = change.head.systems.get(document.address.system)
        for pattern, mark in kind.schema.marked("x-choices") if kind and system else ():
            name = str(mark.get("connection", "")) if isinstance(mark, dict) else ""
            allowed = system.connection.get(name) if name and system else None
            if not isinstance(allowed, list):
                continue
            for field, value in values_at(document.spec, pattern, "spec"):
                if not any(value == one or f"{value}".startswith(f"{one}".rstrip("/") + "/") for one in allowed):
                    message = f"{value} is not among the {name} of {document.address.system}."
                    fix = f"Choose one of: {', '.join(map(str, allowed))}." if allowed else "It has none."
                    yield at(document, field, "choice.not-there", message, fix)


def limits(change: Change) -> Iterator[Violation]:
    """One violation per system and limit, told at the first item that counts."""
    for name, items in change.plan.by_system().items():
        system = change.base.systems.get(name) or change.head.systems.get(name)
        if system is None:
            continue
        deletes = [item for item in items if item.operation is Operation.DELETE]
        allowed = system.limits.max_deletes
        if allowed is not None and len(deletes) > allowed:
            message = f"{len(deletes)} resources of {name} would be deleted, and its limit is {allowed}."
            fix = "Split the request so that each part stays under the limit."
            yield Violation("limits.deletes", message, deletes[0].path, fix=fix)
        yield from _percent(change, system, [item for item in items if item.operation is not Operation.CREATE])


def _percent(change: Change, system: System, touched: list[PlanItem]) -> Iterator[Violation]:
    total, allowed = change.base.sizes.get(system.name, 0), system.limits.max_change_percent
    if allowed is None or total < MIN_FOR_PERCENT or len(touched) * 100 <= allowed * total:
        return
    share = len(touched) * 100 // total
    message = (
        f"{len(touched)} of {total} resources of {system.name} ({share} %) would change; its limit is {allowed} %."
    )
    fix = "Split the request so that each part stays under the limit."
    yield Violation("limits.percent", message, touched[0].path, fix=fix)


def quotas(change: Change) -> Iterator[Violation]:
    """One violation per team and kind, told at the last document that comes to the team."""
    comers = [item for item in change.plan.resources if item.operation in (Operation.CREATE, Operation.TRANSFER)]
    last = {(item.address.team, item.address.kind): item for item in comers if item.address}
    for (name, kind), item in last.items():
        team = change.base.teams.get(name) or change.head.teams.get(name)
        now, then = (one.holdings.get((name, kind), 0) for one in (change.base, change.head))
        allowed = team.quotas.get(kind) if team else None
        if allowed is not None and then > max(now, allowed):
            message = f"{name} would have {then} documents of {kind}, and its quota is {allowed}."
            fix = f"Delete what is no longer needed, or ask the platform team for a higher quota in teams/{name}.yml."
            yield Violation("limits.quota", message, item.path, fix=fix)


def declarations(change: Change) -> Iterator[Violation]:
    """Changed systems name a known type and known teams; what others rest on is not taken away."""
    for item in change.plan.others:
        folder, _, file = item.path.partition("/")
        name = file.removesuffix(".yml")
        if folder == "systems":
            yield from _system(change, item, name)
        elif folder == "teams":
            yield from _team(change, item, name)
        elif folder == "policies":
            for policy in change.head.policies_by_file.get(item.path, ()):
                team = policy.approvals.from_ if policy.approvals else "owners"
                if team != "owners" and team not in change.head.teams:
                    message = f"The policy {policy.id} asks the team {team!r}, which does not exist."
                    yield Violation("team.unknown", message, item.path, fix="Correct the name of the team.")
        if item.operation is Operation.DELETE:
            yield from _taken_away(change, item, folder, name)
    yield from _platform_team(change)
    yield from _auditors(change)


def _team(change: Change, item: PlanItem, name: str) -> Iterator[Violation]:
    team = change.head.teams.get(name)
    for kind in team.quotas if team else ():
        if kind not in change.catalog.kinds:
            message = f"There is no kind {kind!r}{did_you_mean(kind, change.catalog.kinds)}"
            yield Violation("kind.unknown", message, item.path, f"quotas.{kind}", fix="Correct the name of the kind.")


def _system(change: Change, item: PlanItem, name: str) -> Iterator[Violation]:
    system = change.head.systems.get(name)
    if system is None:
        return
    if system.type not in change.catalog.types:
        message = f"There is no system type {system.type!r}{did_you_mean(system.type, change.catalog.types)}"
        line = line_of("type", system.lines)
        yield Violation("type.unknown", message, item.path, "type", line, "Choose a type of the catalogue.")
    before = change.base.systems.get(name)
    if before and before.type != system.type:
        message = f"The type of {name} cannot change from {before.type} to {system.type}."
        line = line_of("type", system.lines)
        yield Violation("immutable.type", message, item.path, "type", line, "Declare a new system instead.")
    for team in system.owners:
        if team not in change.head.teams:
            message = f"There is no team {team!r}{did_you_mean(team, change.head.teams)}"
            line = line_of("owners", system.lines)
            yield Violation("team.unknown", message, item.path, "owners", line, "Correct the name of the team.")


def _taken_away(change: Change, item: PlanItem, folder: str, name: str) -> Iterator[Violation]:
    """A deleted system has no documents on main: their deletion still needs it. A deleted team owns and has nothing."""
    head, left = change.head, max(change.base.sizes.get(name, 0), change.head.sizes.get(name, 0))
    if folder == "systems" and left:
        message = (
            f"{name} still has documents on main ({left})." if name in change.base.sizes else f"{name} gets documents."
        )
        fix = "Delete its documents in a request of their own; when that is merged and applied, delete the system."
        yield Violation("system.in-use", message, item.path, fix=fix)
    if folder == "teams":
        owned = [system.name for system in head.systems.values() if name in system.owners]
        asked = [policy.id for policy in head.policies if policy.approvals and policy.approvals.from_ == name]
        has = any(team == name for team, _ in head.holdings)
        if owned or has:
            message = f"{name} still owns {', '.join(owned)}." if owned else f"{name} still has documents."
            yield Violation("team.in-use", message, item.path, fix="Give them to another team first.")
        elif asked:
            message = f"{name} is still asked for approvals by the policy {', '.join(asked)}."
            yield Violation("team.in-use", message, item.path, fix="Let the policy ask another team first.")
        elif name == head.auditors:
            message = f"{name} are still the auditors in {SITE_FILE}."
            yield Violation("team.in-use", message, item.path, fix=f"Name another team in {SITE_FILE}, or none.")


def _platform_team(change: Change) -> Iterator[Violation]:
    """The site keeps a platform team with somebody in it, or nobody could mend anything."""
    touched = [item.path for item in change.plan.others if item.path == SITE_FILE or item.path.startswith("teams/")]
    if touched and not change.head.members_of([change.head.platform_team]):
        message = f"Nobody would be left in the platform team ({change.head.platform_team or 'none is declared'})."
        fix = "Keep mergeyard.yml, and a team file with members for its platform_team."
        yield Violation("site.platform-team", message, touched[0], fix=fix)


def _auditors(change: Change) -> Iterator[Violation]:
    team, teams = change.head.auditors, change.head.teams
    if team and team not in teams and any(item.path == SITE_FILE for item in change.plan.others):
        message = f"There is no team {team!r}{did_you_mean(team, teams)}"
        yield Violation("team.unknown", message, SITE_FILE, "auditors", fix="Correct the name of the team.")


CHECKS = (
    files,
    ownership,
    declared,
    identities,
    missing_references,
    still_referenced,
    cycles,
    exclusive_values,
    immutable_fields,
    growing_fields,
    chosen_from_connection,
    limits,
    quotas,
    document_secrets,
    system_secrets,
    declarations,
)
