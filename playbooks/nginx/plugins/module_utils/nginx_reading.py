"""Owns the lines of a site's file that never differ, and how a file is read back into a site. Pure.

Where a line says something it may be anything that nginx takes; what we would never write shows as a difference.
"""

from __future__ import annotations

import re
from typing import Any

from ansible.module_utils.mergeyard.pairing import Spec  # type: ignore[import-not-found]

ALWAYS = (
    "proxy_http_version 1.1;",
    "proxy_set_header Host $host;",
    "proxy_set_header X-Real-IP $remote_addr;",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
)
NO_UPGRADE = 'proxy_set_header Connection "";'
UPGRADE = ("proxy_set_header Upgrade $http_upgrade;", 'proxy_set_header Connection "upgrade";')
PROTOCOLS = "ssl_protocols TLSv1.2 TLSv1.3;"
STATUS = "limit_req_status 429;"
CONSTANT = {*ALWAYS, NO_UPGRADE, *UPGRADE, PROTOCOLS, STATUS, "server {", "}"}
INNER = {
    r"listen \S+( ssl)?;": "seen",
    r"server_name ([^;]+);": "hosts",
    r"ssl_certificate (\S+);": "certificate",
    r"ssl_certificate_key (\S+);": "key",
    r"return 301 https://\$host(:\d+)?\$request_uri;": "redirect",
    r"client_max_body_size (\d{1,9})m;": "body",
    r"limit_req_zone \S+ zone=\S+ rate=(\d{1,9})r/([sm]);": "rate",
    r"limit_req zone=\S+?(?: burst=(\d{1,9}) nodelay)?;": "burst",
    r'add_header (\S+) "([^"]*)" always;': "response",
    r'proxy_set_header (\S+) "([^"]*)";': "request",
    r"upstream \S+_(\d{1,3}) \{": "upstream",
    r"server ([^\s:]+):(\d{1,5}) weight=(\d{1,9})( backup)?;": "server",
    r"location (?:= )?(/\S*) \{": "location",
    r"proxy_pass http://\S+_(\d{1,3});": "pass_",
    r"proxy_read_timeout (\d{1,9})s;": "timeout",
}


class Reading:
    """One file, line by line."""

    def __init__(self, name: str) -> None:
        self.spec: dict[str, Any] = {
            "name": name,
            "hosts": [],
            "paths": [],
            "response_headers": {},
            "request_headers": {},
        }
        self.path: dict[str, Any] = {}
        self.place = "/"

    def takes(self, line: str) -> bool:
        """Whether it is a line of ours; what it says is in the spec then."""
        words = line.strip()
        if words in CONSTANT:
            if words == UPGRADE[0]:
                self.path["websocket"] = True
            return True
        for pattern, what in INNER.items():
            if found := re.fullmatch(pattern, words):
                getattr(self, what)(*found.groups())
                return True
        return False

    def seen(self, *_: str) -> None:
        """It says nothing about the site itself."""

    def part(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.spec.setdefault(name, {})
        return found

    def at(self, number: str) -> dict[str, Any]:
        paths = self.spec["paths"]
        while len(paths) <= int(number):
            paths.append({"servers": [], "websocket": False})
        found: dict[str, Any] = paths[int(number)]
        return found

    def hosts(self, names: str) -> None:
        self.spec["hosts"] = names.split()

    def certificate(self, file: str) -> None:
        self.part("tls").update(certificate=file, redirect=self.part("tls").get("redirect", False))

    def key(self, file: str) -> None:
        self.part("tls")["key"] = file

    def redirect(self, _: str) -> None:
        self.part("tls")["redirect"] = True

    def body(self, size: str) -> None:
        self.spec["max_body_size"] = int(size)

    def rate(self, requests: str, per: str) -> None:
        self.part("rate_limit").update(requests=int(requests), per={"s": "second", "m": "minute"}[per], burst=0)

    def burst(self, burst: str | None) -> None:
        self.part("rate_limit")["burst"] = int(burst or 0)

    def response(self, name: str, value: str) -> None:
        self.spec["response_headers"][name] = value

    def request(self, name: str, value: str) -> None:
        self.spec["request_headers"][name] = value

    def upstream(self, number: str) -> None:
        self.path = self.at(number)

    def server(self, address: str, port: str, weight: str, backup: str | None) -> None:
        server = {"address": address, "port": int(port), "weight": int(weight), "backup": bool(backup)}
        self.path.setdefault("servers", []).append(server)

    def location(self, place: str) -> None:
        self.place = place

    def pass_(self, number: str) -> None:
        self.path = self.at(number)
        self.path["path"] = self.place.rstrip("/") or "/"

    def timeout(self, seconds: str) -> None:
        self.path["timeout"] = int(seconds)


def read(name: str, lines: list[str]) -> tuple[Spec, list[str]]:
    reading = Reading(name)
    strange = [line for line in lines if not reading.takes(line)]
    return reading.spec, strange
