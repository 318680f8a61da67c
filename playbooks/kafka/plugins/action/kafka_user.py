"""Owns users who sign in to Kafka by SCRAM: KafkaUser specs to and from the cluster's SCRAM credentials.

Kafka shows the mechanism and the iterations of a credential and nothing else. So a password is verified by signing in
with it, on a listener for that; where the system file names none, no user is managed, as every run would set it anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.kafka_broker import Broker, NotSignedIn, OtherMechanisms, said  # noqa: E402
from ansible.module_utils.kafka_cluster import Absent, BrokerAction  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    SystemDown,
    shown,
)
from ansible.module_utils.mergeyard.values import remark_on  # noqa: E402
from kafka.protocol.admin import (  # noqa: E402
    AlterUserScramCredentialsRequest,
    DescribeUserScramCredentialsRequest,
)

MECHANISMS = {"SCRAM-SHA-256": 1, "SCRAM-SHA-512": 2}
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
ITERATIONS = range(4096, 16385)  # what Kafka takes
AT_A_TIME = 8  # a broker lets who it refuses wait
NOT_FOUND = 91

Credentials = dict[str, int]  # mechanism -> iterations


class ActionModule(BrokerAction):  # type: ignore[misc]
    KIND = "KafkaUser"
    ASKS = (DescribeUserScramCredentialsRequest, AlterUserScramCredentialsRequest)
    WHAT = "users who sign in by SCRAM"

    def listener(self) -> tuple[str, str]:
        """Where users sign in, and how it is protected."""
        own = str(self.connection.get("security_protocol", "PLAINTEXT"))
        if "sign_in_servers" in self.connection:
            return str(self.connection["sign_in_servers"]), str(self.connection["sign_in_protocol"])
        if not own.startswith("SASL_"):
            raise Absent(
                f"A password on Kafka is verified by signing in, which nobody does at {self.broker.servers}; "
                "add sign_in_servers to the system's connection."
            )
        return self.broker.servers, own

    def everything(self) -> dict[Identity, Credentials]:
        self.listener()
        answer = self.broker.ask(DescribeUserScramCredentialsRequest(version=0, users=None))
        if answer.error_code:
            raise SystemDown(f"The users on Kafka cannot be read. {said(answer.error_code, answer.error_message)}")
        names = {value: name for name, value in MECHANISMS.items()}
        return {
            (one.user,): {names[info.mechanism]: info.iterations for info in one.credential_infos}
            for one in answer.results
            if one.error_code == 0
        }

    def all_there(self) -> dict[Identity, Credentials]:
        self.listener()  # where there is none, nothing more is asked
        there: dict[Identity, Credentials] = super().all_there()
        return there

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        there = super().read(resources)
        # A user who is not ours is refused anyway, and nobody's password is tried for it.
        ours = [one for one in resources if (one.adopt or one.managed) and one.identity(self.IDENTITY) in there]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            fits = dict(zip([one.path for one in ours], pool.map(lambda one: self.fits(one, there), ours), strict=True))
        for one in ours:
            if not fits[one.path]:
                found = there[one.identity(self.IDENTITY)]
                there[one.identity(self.IDENTITY)] = Found(
                    found.spec, remarks=(*found.remarks, remark_on(self.password(one)))
                )
        return there

    def found(self, identity: Identity, there: Credentials, resource: Resource | None) -> Found:
        wanted = str(resource.spec.get("mechanism")) if resource else ""
        mechanism = wanted if wanted in there else max(there)
        spec: Spec = {"name": identity[0], "mechanism": mechanism, "iterations": there[mechanism]}
        return Found(spec, remarks=tuple(f"a {other} password was set for it" for other in there if other != mechanism))

    def password(self, resource: Resource) -> str:
        return str(self.secrets.get(resource.path, {}).get("password") or "")

    def fits(self, resource: Resource, there: dict[Identity, Found]) -> bool:
        password = self.password(resource)
        mechanism = str(there[resource.identity(self.IDENTITY)].spec["mechanism"])
        return bool(password) and self.signs_in(str(resource.spec["name"]), mechanism, password)

    def signs_in(self, name: str, mechanism: str, password: str) -> bool:
        servers, protocol = self.listener()
        try:
            Broker(servers, protocol, mechanism, name, password).close()
        except NotSignedIn:
            return False
        except OtherMechanisms as error:
            raise SystemDown(
                f"Passwords for {mechanism} cannot be verified: at {servers} users sign in by {error}."
            ) from error
        return True

    def after(self, resource: Resource, found: Found | None) -> Spec:
        self.must_not_be_own(resource)
        spec = resource.spec
        name, iterations = str(spec["name"]), spec["iterations"]
        if {*name} & {*",="}:
            raise Refused(f"name: {shown(name)} holds a comma or an equals sign, which SCRAM keeps for itself.")
        if spec["mechanism"] not in MECHANISMS:
            raise Refused(f"mechanism: {shown(spec['mechanism'])} is none of {', '.join(MECHANISMS)}.")
        if iterations not in ITERATIONS:
            raise Refused(f"iterations: Kafka takes {ITERATIONS.start} to {ITERATIONS.stop - 1}.")
        if not self.password(resource) and not self.check:
            raise Refused("The password of the user could not be read; see where its secret is kept.")
        return {name: spec[name] for name in ("name", "mechanism", "iterations")}

    def send(self, group: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        """New credentials first; Kafka takes only one change of a user in a request."""
        failures = self.altered(upsertions=[self.upsertion(one) for one in group if one.after])
        old = [
            (str(one.resource.spec["name"]), mechanism)
            for one in group
            for mechanism in self.existing.get(one.resource.identity(self.IDENTITY), ())
            if not one.after or mechanism != one.after["mechanism"]
        ]
        old = [(name, mechanism) for name, mechanism in old if not failures.get(name)]
        for mechanism in MECHANISMS:
            gone = AlterUserScramCredentialsRequest.ScramCredentialDeletion
            failures |= self.altered(
                deletions=[gone(name=name, mechanism=MECHANISMS[one]) for name, one in old if one == mechanism]
            )
        for outcome in group:
            yield outcome, failures.get(str(outcome.resource.spec["name"]), "")

    def altered(self, *, upsertions: Sequence[Any] = (), deletions: Sequence[Any] = ()) -> dict[str, str]:
        """What failed, by user; that there is nothing to delete any more is no failure."""
        if not upsertions and not deletions:
            return {}
        request = AlterUserScramCredentialsRequest(version=0, upsertions=[*upsertions], deletions=[*deletions])
        results = [one for one in self.broker.ask(request).results if one.error_code not in (0, NOT_FOUND)]
        return {one.user: said(one.error_code, one.error_message) for one in results}

    def upsertion(self, outcome: Outcome) -> Any:
        spec: Any = outcome.after
        salt, password = os.urandom(24), self.password(outcome.resource).encode()
        return AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
            name=spec["name"],
            mechanism=MECHANISMS[spec["mechanism"]],
            iterations=spec["iterations"],
            salt=salt,
            salted_password=hashlib.pbkdf2_hmac(HASHES[spec["mechanism"]], password, salt, spec["iterations"]),
        )

    def seen(self, outcomes: list[Outcome]) -> bool:
        """The password of the last one says it for all: a broker shows them in the order in which they were written."""
        set_now = [outcome for outcome in outcomes if outcome.after]
        if not super().seen(outcomes):
            return False
        if not set_now:
            return True
        spec: Any = set_now[-1].after
        return self.signs_in(spec["name"], spec["mechanism"], self.password(set_now[-1].resource))
