"""Owns the SCRAM verifier that PostgreSQL stores of a password (RFC 5803, RFC 7677), made and compared here. Pure.

The standard library's hashing takes half the time of libpq's, and other threads work meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata

ROUNDS = 4096
FORBIDDEN = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepared(password: str) -> bytes:
    """As PostgreSQL and its clients do (SASLprep, RFC 4013): what the standard forbids is taken as it is."""
    if password.isascii():
        return password.encode()
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if stringprep.in_table_c12(character) or not stringprep.in_table_b1(character)
    )
    text = unicodedata.normalize("NFKC", mapped)
    forbidden = any(is_in(character) for character in mapped for is_in in FORBIDDEN)
    return password.encode() if not text or forbidden or turns(mapped) else text.encode()


def turns(text: str) -> bool:
    """Whether it mixes writing from right to left with the other, or does not begin and end with it."""
    right = [stringprep.in_table_d1(character) for character in text]
    return any(right) and not (right[0] and right[-1] and not any(map(stringprep.in_table_d2, text)))


def keys(password: str, salt: bytes, rounds: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, rounds)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


def verifier(password: str) -> str:
    salt = os.urandom(16)
    stored, server = (base64.b64encode(key).decode() for key in keys(password, salt, ROUNDS))
    return f"SCRAM-SHA-256${ROUNDS}:{base64.b64encode(salt).decode()}${stored}:{server}"


def verifies(stored: str | None, password: str) -> bool:
    """Whether what the server stores is of this password."""
    try:
        scheme, parameters, both = (stored or "").split("$")
        rounds, salt = parameters.split(":")
        wanted = base64.b64decode(both.split(":")[0], validate=True)
    except ValueError:
        return False
    if scheme != "SCRAM-SHA-256":
        return False
    return hmac.compare_digest(keys(password, base64.b64decode(salt), int(rounds))[0], wanted)
