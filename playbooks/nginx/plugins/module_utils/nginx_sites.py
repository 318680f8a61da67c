"""Owns how a ReverseProxySite is written as nginx configuration and read back from it. Pure; knows no files or sockets.

Everything that is written was matched against the alphabet of its place first, so no value can end a line, begin a
directive, name a variable or leave the allowed directories.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.mergeyard.pairing import Refused, Spec  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.values import (  # type: ignore[import-not-found]
    choice,
    flag,
    known,
    listed,
    number,
    once,
    text,
)
from ansible.module_utils.nginx_reading import (  # type: ignore[import-not-found]
    ALWAYS,
    NO_UPGRADE,
    PROTOCOLS,
    STATUS,
    UPGRADE,
    read,
)

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
HOST = re.compile(r"(?=.{1,120}\Z)(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
PATH = re.compile(r"(?=.{1,100}\Z)/((?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)*)?")
ADDRESS = re.compile(r"(?=.{1,120}\Z)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
FILE = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._@+-]{1,100}){1,20}")
HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
HEADER_VALUE = re.compile(
    r"(?=.{1,500}\Z)[A-Za-z0-9*]([A-Za-z0-9 ;=,:/_.*'()+@%&?!#~<>-]*[A-Za-z0-9;=/_.*')+@%&?!#~<>-])?"
)
OURS = ("host", "connection", "upgrade", "content-length", "transfer-encoding", "te", "trailer", "keep-alive")
FORWARDED = ("x-real-ip", "x-forwarded-for", "x-forwarded-proto")
FIELDS = (
    "name",
    "hosts",
    "paths",
    "tls",
    "response_headers",
    "request_headers",
    "rate_limit",
    "max_body_size",
)
ZONE_SIZE = "4m"  # about 32,000 addresses at a time


def valid_header(at: str, name: str, value: object, taken: tuple[str, ...]) -> str:
    text(at, name, HEADER_NAME)
    if name.lower() in taken:
        raise Refused(f"{at}: {name} is set by nginx itself.")
    return text(f"{at}.{name}", value, HEADER_VALUE)


def valid_headers(at: str, value: object, taken: tuple[str, ...]) -> Spec:
    if not isinstance(value, dict):
        raise Refused(f"{at}: must be a mapping.")
    once(at, [str(name).lower() for name in value])
    return {name: valid_header(at, name, inner, taken) for name, inner in value.items()}


def valid_server(at: str, value: object) -> Spec:
    given = known(at, value, ("address", "port", "weight", "backup"))
    return {
        "address": text(f"{at}.address", given.get("address"), ADDRESS),
        "port": number(f"{at}.port", given.get("port"), 1, 65535),
        "weight": number(f"{at}.weight", given.get("weight", 1), 1, 100),
        "backup": flag(f"{at}.backup", given.get("backup", False)),
    }


def valid_path(at: str, value: object) -> Spec:
    given = known(at, value, ("path", "servers", "websocket", "timeout"))
    servers = [
        valid_server(f"{at}.servers.{n}", one) for n, one in enumerate(listed(f"{at}.servers", given.get("servers")))
    ]
    once(f"{at}.servers", [f"{server['address']}:{server['port']}" for server in servers])
    return {
        "path": text(f"{at}.path", given.get("path", "/"), PATH),
        "servers": servers,
        "websocket": flag(f"{at}.websocket", given.get("websocket", False)),
        "timeout": number(f"{at}.timeout", given.get("timeout", 60), 1, 3600),
    }


def valid_limit(value: object) -> Spec:
    given = known("rate_limit", value, ("requests", "per", "burst"))
    return {
        "requests": number("rate_limit.requests", given.get("requests"), 1, 10000),
        "per": choice("rate_limit.per", given.get("per", "second"), ("second", "minute")),
        "burst": number("rate_limit.burst", given.get("burst", 0), 0, 10000),
    }


class Sites:
    """ReverseProxySite as files, for an nginx that listens and keeps its certificates as the connection says."""

    def __init__(self, connection: dict[str, Any]) -> None:
        http, https = connection.get("http_port", 80), connection.get("https_port", 443)
        self.https_port = https
        self.directories = [str(directory) for directory in connection.get("certificate_directories", [])]
        addresses = connection.get("addresses", ["0.0.0.0"])
        self.plain = [f"listen {address}:{http};" for address in addresses]
        self.encrypted = [f"listen {address}:{https} ssl;" for address in addresses]

    def name_of(self, spec: Spec) -> str:
        return str(text("name", spec["name"], NAME))

    def is_name(self, name: str) -> bool:
        return bool(NAME.fullmatch(name))

    def valid(self, spec: Spec) -> Spec:
        given = known("spec", spec, FIELDS)
        hosts = [text(f"hosts.{n}", host, HOST) for n, host in enumerate(listed("hosts", given.get("hosts")))]
        paths = [valid_path(f"paths.{n}", path) for n, path in enumerate(listed("paths", given.get("paths")))]
        once("hosts", hosts)
        once("paths", [str(path["path"]) for path in paths])
        result: Spec = {
            "name": text("name", given.get("name"), NAME),
            "hosts": hosts,
            "paths": paths,
            "response_headers": valid_headers("response_headers", given.get("response_headers", {}), OURS),
            "request_headers": valid_headers("request_headers", given.get("request_headers", {}), OURS + FORWARDED),
            "max_body_size": number("max_body_size", given.get("max_body_size", 1), 1, 10240),
        }
        if "tls" in given:
            result["tls"] = self.valid_tls(given["tls"])
        if "rate_limit" in given:
            result["rate_limit"] = valid_limit(given["rate_limit"])
        return result

    def valid_tls(self, value: object) -> Spec:
        given = known("tls", value, ("certificate", "key", "redirect"))
        return {
            "certificate": self.allowed("tls.certificate", given.get("certificate")),
            "key": self.allowed("tls.key", given.get("key")),
            "redirect": flag("tls.redirect", given.get("redirect", True)),
        }

    def allowed(self, at: str, value: object) -> str:
        path = str(text(at, value, FILE))
        if not any(path.startswith(f"{directory}/") for directory in self.directories):
            where = " or ".join(self.directories) or "any directory: this nginx has none for certificates"
            raise Refused(f"{at}: {path} does not lie in {where}.")
        return path

    def lines(self, spec: Spec) -> Iterator[str]:
        name, tls, limit = f"site_{spec['name']}", spec.get("tls"), spec.get("rate_limit")
        given: Any = spec
        if limit:
            rate = f"{given['rate_limit']['requests']}r/{given['rate_limit']['per'][0]}"
            yield f"limit_req_zone $binary_remote_addr zone={name}:{ZONE_SIZE} rate={rate};"
        for number_, path in enumerate(given["paths"]):
            yield f"upstream {name}_{number_} {{"
            for server in path["servers"]:
                backup = " backup" if server["backup"] else ""
                yield f"    server {server['address']}:{server['port']} weight={server['weight']}{backup};"
            yield "}"
        redirected = bool(tls and given["tls"]["redirect"])
        if redirected:
            yield from self.redirect(given["hosts"])
        yield "server {"
        inner = [*([] if redirected else self.plain), *(self.encrypted if tls else []), *self.site(name, given)]
        yield from (f"    {line}" for line in inner)
        yield "}"

    def read(self, name: str, lines: list[str]) -> tuple[Spec, list[str]]:
        spec, strange = read(name, lines)
        return spec, strange

    def redirect(self, hosts: list[str]) -> Iterator[str]:
        port = "" if self.https_port == 443 else f":{self.https_port}"
        yield "server {"
        yield from (f"    {line}" for line in self.plain)
        yield f"    server_name {' '.join(hosts)};"
        yield f"    return 301 https://$host{port}$request_uri;"
        yield "}"

    def site(self, name: str, given: dict[str, Any]) -> Iterator[str]:
        yield f"server_name {' '.join(given['hosts'])};"
        if tls := given.get("tls"):
            yield f"ssl_certificate {tls['certificate']};"
            yield f"ssl_certificate_key {tls['key']};"
            yield PROTOCOLS
        yield f"client_max_body_size {given['max_body_size']}m;"
        if limit := given.get("rate_limit"):
            yield f"limit_req zone={name}{' burst={} nodelay'.format(limit['burst']) if limit['burst'] else ''};"
            yield STATUS
        for header, value in given["response_headers"].items():
            yield f'add_header {header} "{value}" always;'
        for at, path in enumerate(given["paths"]):
            body = [f"    {line}" for line in location(f"{name}_{at}", path, given["request_headers"])]
            below = path["path"].rstrip("/") + "/"
            for place in [below] if below == "/" else [f"= {path['path']}", below]:
                yield from (f"location {place} {{", *body, "}")


def location(upstream: str, path: dict[str, Any], headers: dict[str, str]) -> Iterator[str]:
    yield f"proxy_pass http://{upstream};"
    yield from ALWAYS
    yield from UPGRADE if path["websocket"] else (NO_UPGRADE,)
    for header, value in headers.items():
        yield f'proxy_set_header {header} "{value}";'
    yield f"proxy_read_timeout {path['timeout']}s;"
