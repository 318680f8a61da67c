"""Owns what MariaDB stores of a password, so that one is compared and set without being sent. Pure.

mysql_native_password: SHA-1 of the SHA-1. ed25519: the public key (RFC 8032) whose secret is the password itself, of
any length, where the standard has a seed of 32 bytes (MariaDB, plugin/auth_ed25519).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202

Point = tuple[int, int, int, int]  # extended coordinates


def added(one: Point, other: Point) -> Point:
    a, b = (one[1] - one[0]) * (other[1] - other[0]) % P, (one[1] + one[0]) * (other[1] + other[0]) % P
    c, d = 2 * one[3] * other[3] * D % P, 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def public_key(secret: bytes) -> bytes:
    number = bytearray(hashlib.sha512(secret).digest()[:32])
    number[0] &= 248
    number[31] = number[31] & 127 | 64
    factor = int.from_bytes(number, "little")
    result: Point = (0, 1, 1, 0)
    doubled: Point = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)
    while factor:
        if factor & 1:
            result = added(result, doubled)
        doubled = added(doubled, doubled)
        factor >>= 1
    inverse = pow(result[2], P - 2, P)
    x, y = result[0] * inverse % P, result[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def native(password: str) -> str:
    first = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(first, usedforsecurity=False).hexdigest().upper()


def ed25519(password: str) -> str:
    return base64.b64encode(public_key(password.encode())).decode().rstrip("=")


STORED: dict[str, Callable[[str], str]] = {"mysql_native_password": native, "ed25519": ed25519}


def belongs(stored: str, password: str, plugin: str) -> bool:
    """Whether what the server stores is of this password."""
    return bool(password) and hmac.compare_digest(stored.encode(), STORED[plugin](password).encode())
