"""Owns the grammar of secrets' references, and of the prefixes that say who may use which. Pure; it sees no value.

    env:NAME    file:PATH    ansible-vault:PATH#KEY    vault:PATH#FIELD

A path is plain names with a slash between them, so nothing in it climbs, repeats, escapes or hides: two references are
the same place exactly when they are the same text. A prefix is a reference, or the beginning of some: `file:pay/` and
`file:pay` are above `file:pay/x` and never above `file:payments/x`.
"""

import re

PLAIN = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
PATH = rf"{PLAIN}(?:/{PLAIN})*"
VARIABLE = r"[A-Z0-9_]+"
MAX_LENGTH = 282

_REF = re.compile(rf"env:{VARIABLE}|file:{PATH}|(?:ansible-vault|vault):{PATH}#{PLAIN}", re.ASCII)
# What a team's `secret_prefixes` may hold.
PREFIX = re.compile(
    rf"env:MERGEYARD_SECRET_{VARIABLE}|file:{PATH}/?|(?:ansible-vault|vault):{PATH}(?:/|#{PLAIN})?", re.ASCII
)
SYSTEM_SECRETS = ("env:MERGEYARD_SECRET_", "file:")  # where systems' secrets may lie unless a setting says otherwise
WRITABLE = ("file", "vault")  # where a worker may put what it generates


def is_secret_ref(ref: str) -> bool:
    """A provider, a colon and a place of that provider's form."""
    return len(ref) <= MAX_LENGTH and _REF.fullmatch(ref) is not None


def is_writable(ref: str) -> bool:
    return ref.partition(":")[0] in WRITABLE


def is_under(ref: str, prefix: str) -> bool:
    """Whether a reference is the prefix or lies below it. A setting may name a whole provider: `file:`."""
    provider, _, above = prefix.partition(":")
    if not is_secret_ref(ref) or ref.partition(":")[0] != provider:
        return False
    place = ref.partition(":")[2]
    if not above or place == above:
        return True
    if provider == "env":
        return place.startswith(above if above.endswith("_") else f"{above}_")
    path = place.partition("#")[0]
    return "#" not in above and (path == above or path.startswith(above if above.endswith("/") else f"{above}/"))


def example(prefix: str, *, name: str, field: str, only: bool) -> str:
    """A reference under a prefix for one of a document's secrets (`only`: it has no other); empty if there is none.

    An encrypted file has many keys, so a folder of such files gives no example; nor do variables.
    """
    provider, _, above = prefix.partition(":")
    one = name if only else f"{name}-{field.replace('_', '-')}"
    if provider == "file" and prefix.endswith("/"):
        found = f"{prefix}{one}"
    elif provider == "vault" and prefix.endswith("/"):
        found = f"{prefix}{name}#{field}"
    elif provider == "ansible-vault" and "#" not in above and not above.endswith("/"):
        found = f"{prefix}#{one}"
    else:
        found = ""
    return found if is_secret_ref(found) else ""
