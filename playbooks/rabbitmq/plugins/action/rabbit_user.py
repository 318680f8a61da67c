"""Owns users of RabbitMQ, their passwords and permissions. The marker is a tag beside that of the user's role."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

import base64  # noqa: E402
import hashlib  # noqa: E402
import hmac  # noqa: E402
import os  # noqa: E402
from collections import defaultdict  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mergeyard.pairing import Found, Identity, Outcome, Refused, Resource, Spec  # noqa: E402
from ansible.module_utils.mergeyard.values import WRONG_PASSWORD, remark_on  # noqa: E402
from ansible.module_utils.rabbit import RabbitAction, expression, name_of  # noqa: E402

RIGHTS = ("configure", "write", "read")
MARKER = "mergeyard:"
ROLES = ("none", "management", "monitoring", "policymaker")
ALGORITHM = "rabbit_password_hashing_sha256"


def hashed(password: str, salt: bytes) -> bytes:
    """RabbitMQ's stored form: four bytes of salt, then SHA-256 over salt and password (its page Passwords)."""
    return salt + hashlib.sha256(salt + password.encode()).digest()


def verifies(row: dict[str, Any], password: str) -> bool:
    try:
        stored = base64.b64decode(str(row.get("password_hash") or ""), validate=True)
    except ValueError:
        return False
    same = hmac.compare_digest(hashed(password, stored[:4]), stored)
    return same and row.get("hashing_algorithm") == ALGORITHM


class ActionModule(RabbitAction):  # type: ignore[misc]
    KIND = "RabbitUser"

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        passwords = {resource.spec["name"]: self.password(resource.path) for resource in resources}
        self.look_for_hosts()
        self.stored, permissions = self.rows()
        return {
            (name,): self.found(row, permissions[name], passwords[name])
            for name, row in self.stored.items()
            if name in passwords
        }

    def gather(self) -> list[Found]:
        rows, permissions = self.rows()
        return [self.found(row, permissions[name]) for name, row in rows.items() if name != self.connection["user"]]

    def rows(self) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, str]]]]:
        permissions: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in self.get("permissions"):
            permissions[row["user"]].append({name: row[name] for name in ("vhost", *RIGHTS)})
        return {row["name"]: row for row in self.get("users")}, permissions

    def found(self, row: dict[str, Any], permissions: list[dict[str, str]], password: str | None = None) -> Found:
        all_tags = sorted(tag for tag in row.get("tags", []) if tag)
        marks = [tag.removeprefix(MARKER) for tag in all_tags if tag.startswith(MARKER)]
        tags = [tag for tag in all_tags if not tag.startswith(MARKER)]
        known = tags[0] if len(tags) == 1 and tags[0] in ROLES else "none" if not tags else ", ".join(tags)
        spec: Spec = {
            "name": row["name"],
            "role": known,
            "permissions": sorted(permissions, key=lambda one: one["vhost"]),
        }
        wrong = password is not None and not verifies(row, password)
        return Found(spec, marks[0] if marks else None, (remark_on(password or ""),) if wrong else ())

    def password(self, path: str) -> str:
        return str(self.secrets.get(path, {}).get("password") or "")

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec = resource.spec
        name_of("name", spec["name"])
        if spec["name"] == self.connection["user"]:
            raise Refused("This is the user that works here itself; choose another name.")
        if found is not None and found.marker is None and "administrator" in str(found.spec["role"]):
            raise Refused("It is an administrator of the broker, which nobody takes over here; choose another name.")
        if spec["role"] not in ROLES:
            raise Refused(f"role: must be one of {', '.join(ROLES)}.")
        if not self.password(resource.path) and not self.check:
            raise Refused("The password of the user could not be read; see where its secret is kept.")
        permissions: list[dict[str, str]] = spec["permissions"]
        hosts = [name_of("permissions", one["vhost"]) for one in permissions]
        if len(set(hosts)) != len(hosts):
            raise Refused("permissions: a virtual host is named twice; write its rights in one entry.")
        for one in permissions:
            self.must_be_host("permissions", one["vhost"])
            for right in RIGHTS:
                expression(f"permissions.{right}", one[right])
        return {**spec, "permissions": sorted(permissions, key=lambda one: one["vhost"])}

    def bring(self, outcome: Outcome) -> None:
        name, after = str(outcome.after["name"]), outcome.after
        before = {one["vhost"]: one for one in (outcome.before or {}).get("permissions", [])}
        role = [] if after["role"] == "none" else [after["role"]]
        body = {"tags": ",".join([*role, MARKER + outcome.resource.path])}
        if not outcome.before or WRONG_PASSWORD in outcome.reasons:
            salted = hashed(self.password(outcome.resource.path), os.urandom(4))
            body |= {"password_hash": base64.b64encode(salted).decode(), "hashing_algorithm": ALGORITHM}
        else:
            body |= {key: self.stored[name][key] for key in ("password_hash", "hashing_algorithm")}
        self.put("users", name, body=body)
        for one in after["permissions"]:
            if before.pop(one["vhost"], None) != one:
                self.put("permissions", one["vhost"], name, body={right: one[right] for right in RIGHTS})
        for vhost in before:
            self.delete("permissions", vhost, name)

    def remove(self, outcome: Outcome) -> None:
        self.delete("users", str(outcome.resource.spec["name"]))
