"""Owns the way to RabbitMQ's HTTP API: requests, answers, failures as sentences, which virtual hosts there will be.

It must not know users, queues or policies.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from ansible.module_utils.mergeyard.action import ResourceAction  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import Outcome, Refused, SystemDown, shown  # type: ignore[import-not-found]

SECONDS = 8
EXPRESSION = re.compile(r"[A-Za-z0-9_.^$*+|-]{1,200}")  # where Erlang's regular expressions and Python's are the same
REASONS = {
    "invalid_regexp": "this is no regular expression",
    "vhost_not_found": "there is no such virtual host",
    "vhost_or_user_not_found": "there is no such virtual host or no such user",
}


class Answered(Exception):
    """The broker refused a request; its text is one sentence."""


def name_of(field: str, value: object) -> str:
    """A name that RabbitMQ takes as it is: its own reserved word and long names are refused here."""
    text = str(value)
    if not text or len(text.encode(errors="replace")) > 255 or not text.isprintable():
        raise Refused(f"{field}: {shown(text)} cannot be a name in RabbitMQ.")
    return text


def expression(field: str, value: object) -> str:
    """A regular expression that RabbitMQ takes."""
    text = str(value)
    try:
        if EXPRESSION.fullmatch(text):
            re.compile(text)
            return text
        cause = "it may hold letters, numbers and _ . ^ $ * + | -"
    except re.error as error:
        cause = error.msg
    raise Refused(f"{field}: {shown(text)} is no regular expression for RabbitMQ: {cause}.")


class RabbitAction(ResourceAction):  # type: ignore[misc]
    def open(self) -> None:
        host, port = self.connection["host"], int(self.connection.get("port", 15672))
        kind = http.client.HTTPSConnection if self.connection.get("tls") else http.client.HTTPConnection
        self.api = kind(host, port, timeout=SECONDS)
        user = f"{self.connection['user']}:{self.system_secrets.get('password', '')}"
        self.headers = {
            "Authorization": f"Basic {base64.b64encode(user.encode()).decode()}",
            "Content-Type": "application/json",
        }
        try:
            self.get("whoami")
        except Answered as error:
            raise SystemDown(f"RabbitMQ at {host}:{port} cannot be used: {error}") from error

    def close(self) -> None:
        self.api.close()

    def get(self, *path: str, query: str = "") -> Any:
        return self.ask("GET", path, query=query)

    def put(self, *path: str, body: dict[str, Any]) -> None:
        self.ask("PUT", path, body=body)

    def delete(self, *path: str) -> None:
        self.ask("DELETE", path)

    def ask(self, method: str, path: tuple[str, ...], *, body: dict[str, Any] | None = None, query: str = "") -> Any:
        """The decoded answer. Raises Answered for a refusal, SystemDown when the broker cannot be reached."""
        address = "/api/" + "/".join(quote(part, safe="") for part in path) + query
        data = None if body is None else json.dumps(body)
        try:
            try:
                status, content = self.asked(method, address, data)
            except ConnectionError:  # it ends a kept connection when it likes; nothing here harms if it is done twice
                self.api.close()
                status, content = self.asked(method, address, data)
        except (OSError, http.client.HTTPException) as error:
            self.api.close()
            where = f"{self.connection['host']}:{self.connection.get('port', 15672)}"
            cause = (getattr(error, "strerror", "") or str(error) or type(error).__name__).lower()
            raise SystemDown(f"RabbitMQ's HTTP API does not answer at {where}: {cause}.") from error
        if status >= 400:
            raise Answered(said(status, content))
        return json.loads(content) if content else None

    def asked(self, method: str, address: str, data: str | None) -> tuple[int, bytes]:
        self.api.request(method, address, body=data, headers=self.headers)
        answer = self.api.getresponse()
        return answer.status, answer.read()

    def look_for_hosts(self) -> None:
        """Virtual hosts that are there, and those that the same work brings, with the queues that each may have."""
        self.arriving: dict[str, int] = dict(self.told("virtual_hosts"))
        self.hosts = {row["name"] for row in self.get("vhosts", query="?columns=name")} | {*self.arriving}

    def must_be_host(self, field: str, name: object) -> None:
        if name not in self.hosts:
            raise Refused(f"{field}: there is no virtual host {shown(name)}; ask for it in the same request.")

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for outcome in outcomes:
            failure = ""
            try:
                if outcome.after is None:
                    self.remove(outcome)
                else:
                    self.bring(outcome)
            except Answered as error:
                failure = f"RabbitMQ refused it: {error}"
            yield outcome, failure

    def bring(self, outcome: Outcome) -> None:
        raise NotImplementedError

    def remove(self, outcome: Outcome) -> None:
        raise NotImplementedError


def said(status: int, content: bytes) -> str:
    """What the broker answered, as a sentence."""
    try:
        answer = json.loads(content)
        reason = words(answer.get("reason") or answer.get("error"))
    except (ValueError, AttributeError):
        reason = http.client.responses.get(status, str(status))
    return f"{' '.join(reason.split()).rstrip('.')}."


def words(reason: object) -> str:
    """A reason as RabbitMQ has it: a word, a text or a list of such, in which a text may be a list of characters."""
    if not isinstance(reason, list):
        return REASONS.get(str(reason), str(reason))
    if reason and all(isinstance(one, int) and 32 <= one < 127 for one in reason):
        return "".join(map(chr, reason))
    return ": ".join(words(one) for one in reason if not isinstance(one, int))
