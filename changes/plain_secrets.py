"""Plain values where a secret's reference should be, found in a file's text before anything keeps it.

Pure, and light enough for git's pre-receive hook. It looks at what stands under `secrets` of a document or a system.
What is found is told by its place; neither a value nor a key that may be one is ever repeated.
"""

import re
from collections.abc import Callable, Iterator

from changes.documents import SECRET_NAME, Json, join
from changes.reading import InvalidFile, Problem, read_yaml
from changes.secret_refs import is_secret_ref

FOLDERS = ("resources/", "systems/")
MENTIONED = re.compile(rb"\bsecrets\b")
NO_REFERENCE = "A secret is a reference like file:payments/orders that says where the value is, never a value."
UNREADABLE = (
    "The text cannot be read and has secrets, so a value may stand in it. Mend it first; until then it is not kept."
)


def no_reference(ref: str) -> str:
    """Why this text is no reference of a known sort; empty when it is one."""
    return "" if is_secret_ref(ref) else NO_REFERENCE


def plain_secrets(path: str, data: bytes, *, refusal: Callable[[str], str] = no_reference) -> tuple[Problem, ...]:
    """What may not be kept of a file, at most one problem for each secret. `refusal` says why a reference is none."""
    if not path.startswith(FOLDERS) or (b"secrets" not in data and b"\\" not in data):
        return ()
    try:
        tree = read_yaml(data, path)
    except InvalidFile as error:
        line = error.problems[0].line
        return (Problem("secrets.unreadable", UNREADABLE, path, line),) if MENTIONED.search(data) else ()
    if not isinstance(tree.value, dict):
        return (Problem("secrets.unreadable", UNREADABLE, path, 1),) if MENTIONED.search(data) else ()
    places = _places(tree.value.get("secrets"), refusal)
    return tuple(Problem("secrets.value", said, path, tree.lines[key], field) for key, field, said in places)


def _places(secrets: Json, refusal: Callable[[str], str]) -> Iterator[tuple[str, str, str]]:
    """(key, field to name, sentence) of what is no reference. What is empty is no value."""
    if isinstance(secrets, dict):
        for name, item in secrets.items():
            key = join("secrets", name)
            if not SECRET_NAME.fullmatch(name):
                yield key, "secrets", NO_REFERENCE
            elif said := _said(item, refusal):
                yield key, key, said
    elif secrets not in (None, "", []):
        yield "secrets", "secrets", NO_REFERENCE


def _said(item: Json, refusal: Callable[[str], str]) -> str:
    """Why this may not stand for a secret; empty when it may."""
    ref = item
    if isinstance(item, dict):
        ref = item.get("ref")
        if not item.keys() <= {"ref", "generate"} or not isinstance(item.get("generate"), bool | None):
            return NO_REFERENCE
    if ref is None or ref == "":
        return ""
    return refusal(ref) if isinstance(ref, str) else NO_REFERENCE
