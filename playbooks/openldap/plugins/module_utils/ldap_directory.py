"""Owns the talk with one directory through ldap3: TLS, sign-in, searches in bulk, changes, errors as sentences.

It must not know groups or documents.
"""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap3
from ansible.module_utils.mergeyard.pairing import SystemDown  # type: ignore[import-not-found]
from ldap3.core.exceptions import (
    LDAPException,
    LDAPInvalidCredentialsResult,
    LDAPInvalidDnError,
    LDAPNoSuchObjectResult,
    LDAPOperationResult,
    LDAPReferralResult,
)
from ldap3.core.results import RESULT_SUCCESS
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import parse_dn

SECONDS = 8
ANSWER_SECONDS = 60  # of a search, once the directory has let us in
TOGETHER = 200  # values in one filter, and so fewer entries than the 500 that a directory gives by default
PAGE = 400
PAGED = "1.2.840.113556.1.4.319"  # the control that goes with each page of a search
REFERRED = "it refers to another one, as it is a copy or does not hold this; name that one in the system's connection"

Dn = tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=100_000)
def normal(dn: str) -> Dn:
    """A distinguished name so that two spellings of the same one are equal; of something else, itself."""
    try:
        return tuple((name.lower(), " ".join(value.lower().split())) for name, value, _ in parse_dn(dn))
    except LDAPInvalidDnError:
        return (("", dn),)


@dataclass(frozen=True)
class Entry:
    dn: str
    attributes: dict[str, list[str]]  # names in small letters

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Entry:
        attributes = {
            name.lower(): [value.decode(errors="backslashreplace") for value in raw]
            for name, raw in answer["raw_attributes"].items()
        }
        return cls(answer["dn"], attributes)

    def values(self, name: str) -> list[str]:
        return self.attributes.get(name.lower(), [])

    @property
    def first(self) -> tuple[str, str]:
        """Attribute and value that name it among its siblings."""
        return normal(self.dn)[0]


class Directory:
    """One directory, signed in. Raises SystemDown if it cannot be used."""

    def __init__(self, connection: dict[str, Any], password: str) -> None:
        self.at = f"{connection['host']}:{connection['port']}"
        self.must_listen(str(connection["host"]), int(connection["port"]))
        how = connection.get("tls", "starttls")
        server = ldap3.Server(
            str(connection["host"]),
            port=int(connection["port"]),
            use_ssl=how == "ldaps",
            tls=self.tls(connection.get("ca_directory")) if how != "none" else None,
            get_info=ldap3.NONE,
            connect_timeout=SECONDS,
        )
        self.ldap = ldap3.Connection(
            server,
            user=str(connection["bind_dn"]),
            password=password,
            auto_bind=ldap3.AUTO_BIND_NONE,
            auto_referrals=False,
            check_names=False,
            raise_exceptions=True,
            receive_timeout=SECONDS,
        )
        try:
            self.ldap.open()
            if how == "starttls":
                self.ldap.start_tls()
            self.done(self.ldap.bind)
            self.ldap.socket.settimeout(ANSWER_SECONDS)
        except LDAPInvalidCredentialsResult as error:
            raise SystemDown(
                f"The directory at {self.at} does not let {connection['bind_dn']} in with the secret bind_password."
            ) from error
        except (LDAPException, OSError) as error:
            raise SystemDown(f"The directory at {self.at} cannot be used: {words(error)}.") from error

    def must_listen(self, host: str, port: int) -> None:
        try:
            socket.create_connection((host, port), timeout=SECONDS).close()
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise SystemDown(f"No directory answers at {self.at}: {cause}.") from error

    def tls(self, ca_directory: object) -> ldap3.Tls:
        if ca_directory is None:
            return ldap3.Tls(validate=ssl.CERT_REQUIRED)
        files = sorted(Path(str(ca_directory)).glob("*.pem"))
        if not files:
            raise SystemDown(f"For the directory at {self.at} there is no *.pem in {ca_directory}.")
        return ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_data="\n".join(file.read_text() for file in files))

    def close(self) -> None:
        self.ldap.unbind()

    def entries(self, base: str, *, scope: str, condition: str, attributes: list[str]) -> Iterator[Entry]:
        cookie: Any = None
        try:
            while cookie != b"":
                pages = {"attributes": attributes, "paged_size": PAGE, "paged_cookie": cookie}
                self.done(self.ldap.search, base, condition, scope, **pages)
                controls = self.ldap.result.get("controls", {})
                cookie = controls[PAGED]["value"]["cookie"] if PAGED in controls else b""
                yield from [Entry.of(answer) for answer in self.ldap.response if answer["type"] == "searchResEntry"]
        except LDAPNoSuchObjectResult as error:
            raise SystemDown(f"The directory at {self.at} has no {base}; correct the system's connection.") from error
        except (LDAPException, OSError) as error:
            raise SystemDown(f"What is in the directory at {self.at} cannot be read: {words(error)}.") from error

    def with_values(
        self, base: str, *, scope: str, name: str, values: Iterable[str], attributes: list[str]
    ) -> Iterator[Entry]:
        """The entries that have one of these values, many with each search."""
        wanted = list(dict.fromkeys(values))
        for start in range(0, len(wanted), TOGETHER):
            alternatives = "".join(f"({name}={escape_filter_chars(each)})" for each in wanted[start : start + TOGETHER])
            yield from self.entries(base, scope=scope, condition=f"(|{alternatives})", attributes=attributes)

    def add(self, dn: str, sort: str, attributes: dict[str, list[str]]) -> str:
        return self.tried(self.ldap.add, dn, sort, attributes)

    def modify(self, dn: str, changes: dict[str, list[tuple[str, list[str]]]]) -> str:
        return self.tried(self.ldap.modify, dn, changes) if changes else ""

    def delete(self, dn: str) -> str:
        return self.tried(self.ldap.delete, dn)

    def done(self, action: Any, *arguments: object, **more: object) -> None:
        """Raises also for the answers that ldap3 lets pass: a referral, and a limit that cuts a search off."""
        action(*arguments, **more)
        result = self.ldap.result
        if result["result"] != RESULT_SUCCESS:
            raise LDAPOperationResult(result["result"], result["description"], message=result["message"])

    def tried(self, action: Any, *arguments: object) -> str:
        """Empty if it was done, else the sentence why not. It is done whole or not at all."""
        try:
            self.done(action, *arguments)
        except LDAPOperationResult as error:
            return f"The directory refused it: {words(error)}."
        except (LDAPException, OSError) as error:
            raise SystemDown(f"The directory at {self.at} does not answer any more: {words(error)}.") from error
        return ""


def words(error: BaseException) -> str:
    """What was said, on one line and without an end."""
    if isinstance(error, LDAPReferralResult):
        return REFERRED
    if isinstance(error, LDAPOperationResult):
        parts = [str(error.description or ""), str(error.message or "")]
        text = ", ".join(part for part in parts if part) or type(error).__name__
    else:
        text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text or "doesn't match any name" in text:
        return "its certificate is not one that is trusted, or is for another host"
    text = "".join(character if character.isprintable() else " " for character in text)
    return text.strip()[:120].rstrip(". ")
