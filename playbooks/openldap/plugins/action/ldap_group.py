"""Owns groups in a directory: LdapGroup specs to and from entries of the object class groupOfNames.

Their mark stands in businessCategory, which such an entry may have and hardly any application shows; the description
stays the user's own. Members are entries anywhere below the users' base, in a document by one attribute of theirs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

import ldap3  # noqa: E402
from ansible.module_utils.ldap_directory import Directory, Entry, normal  # noqa: E402
from ansible.module_utils.mergeyard.action import ResourceAction  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    shown,
)

SORT = "groupOfNames"
MARK_ATTRIBUTE = "businessCategory"
MARKER = "Managed by Mergeyard: "
ATTRIBUTES = ["objectClass", "cn", "description", "member", MARK_ATTRIBUTE]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MEMBER = re.compile(r"[a-z0-9][a-z0-9._@-]{0,99}")


def marks_of(entry: Entry) -> list[str]:
    return [value for value in entry.values(MARK_ATTRIBUTE) if value.startswith(MARKER)]


class ActionModule(ResourceAction):  # type: ignore[misc]
    KIND = "LdapGroup"

    def open(self) -> None:
        self.connection = {"port": 389, "user_attribute": "uid", **self.connection}
        self.directory_server = Directory(self.connection, str(self.system_secrets.get("bind_password") or ""))
        self.entries: dict[str, Entry] = {}
        self.users: dict[str, list[str]] = defaultdict(list)  # name -> the entries that have it
        self.names: dict[Any, str] = {}  # entry -> name

    def close(self) -> None:
        self.directory_server.close()

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        self.find_users(resources)
        specs = {str(resource.spec["name"]): resource.spec for resource in resources}
        names = [str(resource.spec["name"]) for resource in resources if NAME.fullmatch(str(resource.spec["name"]))]
        base = self.connection["groups_base"]
        for entry in self.directory_server.with_values(
            base, scope=ldap3.LEVEL, name="cn", values=names, attributes=ATTRIBUTES
        ):
            sort, name = entry.first
            if sort == "cn" and name in names:
                self.entries[name] = entry
        return {(name,): self.found(name, entry, specs[name]) for name, entry in self.entries.items()}

    def find_users(self, resources: list[Resource]) -> None:
        attribute = self.connection["user_attribute"]
        members = [name for resource in resources for name in self.members(resource.spec) if MEMBER.fullmatch(name)]
        for entry in self.directory_server.with_values(
            self.connection["users_base"], scope=ldap3.SUBTREE, name=attribute, values=members, attributes=[attribute]
        ):
            names = {value.lower() for value in entry.values(attribute)}
            for name in names:
                self.users[name].append(entry.dn)
            self.names[normal(entry.dn)] = min(names)

    def gather(self) -> list[Found]:
        condition = f"(objectClass={SORT})"
        base = self.connection["groups_base"]
        found = self.directory_server.entries(base, scope=ldap3.LEVEL, condition=condition, attributes=ATTRIBUTES)
        entries = [(entry.first[1], entry) for entry in found if entry.first[0] == "cn"]
        return [self.found(name, entry) for name, entry in sorted(entries, key=lambda item: item[0])]

    def found(self, name: str, entry: Entry, wanted: Spec | None = None) -> Found:
        """`wanted`: what its document says, if it is asked for; users who have several names have those there."""
        spec: Spec = {"name": name}
        called = {normal(dn): one for one in self.members(wanted or {}) for dn in self.users.get(one, [])}
        descriptions, marks = sorted(entry.values("description")), marks_of(entry)
        if descriptions:
            spec["description"] = descriptions[0]
        spec["members"] = sorted({called.get(normal(dn)) or self.name_of(dn) for dn in entry.values("member")})
        remarks = ("it has more than one description",) if len(descriptions) > 1 else ()
        return Found(spec, marks[0].removeprefix(MARKER) if marks else None, remarks)

    def name_of(self, dn: str) -> str:
        """The name of a member; of one that is none of the users, or another user of a name that is taken, its DN."""
        whole, base = normal(dn), normal(self.connection["users_base"])
        if known := self.names.get(whole):
            return known
        attribute, value = whole[0]
        inside = whole[-len(base) :] == base and len(whole) > len(base)
        named = attribute == self.connection["user_attribute"].lower() and MEMBER.fullmatch(value)
        return value if inside and named and value not in self.users else dn

    def members(self, spec: Spec) -> list[str]:
        members = spec.get("members")
        return [str(name) for name in members] if isinstance(members, list) else []

    def after(self, resource: Resource, found: Found | None) -> Spec:
        name, description = str(resource.spec["name"]), resource.spec.get("description")
        if not NAME.fullmatch(name):
            raise Refused(f"name: {shown(name)} cannot be the name of a group.")
        if found is not None and SORT.lower() not in map(str.lower, self.entries[name].values("objectClass")):
            sorts = ", ".join(sorted({*self.entries[name].values("objectClass")} - {"top"}))
            raise Refused(f"{self.entries[name].dn} is no {SORT} but a {sorts}; choose another name.")
        if found is not None and not found.marker and self.holds_us(self.entries[name]):
            raise Refused(
                "Mergeyard's own entry is a member of it, so it may be what lets Mergeyard in; choose another name."
            )
        spec: Spec = {"name": name}
        if description is not None:
            if not isinstance(description, str) or not description or not description.isprintable():
                raise Refused(f"description: {shown(description)} is not a text on one line.")
            spec["description"] = description
        spec["members"] = self.known_members(resource.spec)
        return spec

    def holds_us(self, entry: Entry) -> bool:
        return normal(self.connection["bind_dn"]) in map(normal, entry.values("member"))

    def known_members(self, spec: Spec) -> list[str]:
        members = sorted({*self.members(spec)})
        if not members:
            raise Refused(
                "members: a group cannot be without members; delete its document to take it away, or keep one."
            )
        attribute, base = self.connection["user_attribute"], self.connection["users_base"]
        there: dict[Any, str] = {}
        for name in members:
            if name not in self.users:
                raise Refused(f"members: there is no user with {attribute} {shown(name)} below {base}.")
            if len(self.users[name]) > 1:
                raise Refused(f"members: {shown(name)} is the {attribute} of {' and of '.join(self.users[name])}.")
            one = normal(self.users[name][0])
            if one in there:
                raise Refused(f"members: {shown(there[one])} and {shown(name)} are the same user; keep one of them.")
            there[one] = name
        return members

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for outcome in outcomes:
            name = str(outcome.resource.spec["name"])
            if outcome.after is None:
                yield outcome, self.directory_server.delete(self.entries[name].dn)
            elif outcome.before is None:
                dn = f"cn={name},{self.connection['groups_base']}"
                yield outcome, self.directory_server.add(dn, SORT, self.attributes(outcome))
            else:
                entry = self.entries[name]
                yield outcome, self.directory_server.modify(entry.dn, self.changes(outcome, entry))

    def attributes(self, outcome: Outcome) -> dict[str, list[str]]:
        after: Any = outcome.after
        attributes = {
            "cn": [after["name"]],
            "member": [self.users[name][0] for name in after["members"]],
            MARK_ATTRIBUTE: [MARKER + outcome.resource.path],
        }
        return attributes | ({"description": [after["description"]]} if "description" in after else {})

    def changes(self, outcome: Outcome, entry: Entry) -> dict[str, list[tuple[str, list[str]]]]:
        """Only what differs, so that what others change elsewhere in the entry at the same time stays."""
        wanted = self.attributes(outcome)
        there, goal = ({normal(dn): dn for dn in dns} for dns in (entry.values("member"), wanted["member"]))
        parts = {
            "member": [
                (ldap3.MODIFY_ADD, [dn for key, dn in goal.items() if key not in there]),
                (ldap3.MODIFY_DELETE, [dn for key, dn in there.items() if key not in goal]),
            ],
        }
        if entry.values("description") != wanted.get("description", []):
            parts["description"] = [(ldap3.MODIFY_REPLACE, wanted.get("description", []))]
        if marks_of(entry) != wanted[MARK_ATTRIBUTE]:
            parts[MARK_ATTRIBUTE] = [
                (ldap3.MODIFY_DELETE, marks_of(entry)),
                (ldap3.MODIFY_ADD, wanted[MARK_ATTRIBUTE]),
            ]
        filled = {
            name: [part for part in changes if part[1] or part[0] == ldap3.MODIFY_REPLACE]
            for name, changes in parts.items()
        }
        return {name: changes for name, changes in filled.items() if changes}
