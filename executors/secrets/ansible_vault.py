"""Owns values in files that ansible-vault encrypted: `ansible-vault:PATH#KEY` is a top-level key of a YAML mapping.

Each file is decrypted once for an attempt; plain text is never written anywhere. It must not know other providers.
"""

from pathlib import Path, PurePosixPath

from django.conf import settings

from changes.reading import InvalidFile, Json, read_yaml
from executors.ansible.vault import NotDecrypted, decrypt
from executors.secrets.local import CannotResolve, key, read_below

PASSWORD = "MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE"
MAX_FILE_BYTES = 2_000_000
WRITABLE_BY_OTHERS = 0o022  # what is encrypted may be read by others


class EncryptedFiles:
    """The files of one attempt."""

    def __init__(self) -> None:
        self._read: dict[str, dict[str, Json]] = {}

    def value(self, place: str, *, ref: str) -> str:
        path, _, name = place.partition("#")
        if path not in self._read:
            self._read[path] = _decrypted(path, ref=ref)
        found = self._read[path].get(name)
        if found is None:
            raise CannotResolve(f"The secret {ref} does not exist: its file has no key {name}.")
        if not isinstance(found, str):
            raise CannotResolve(f"The secret {ref} is not a text; put its value in quotes.")
        return found.removesuffix("\n")


def _decrypted(path: str, *, ref: str) -> dict[str, Json]:
    password = key(PASSWORD, ref=ref)
    directory = Path(settings.MERGEYARD_ANSIBLE_VAULT_DIR)
    try:
        parts = PurePosixPath(path).parts
        data = read_below(directory, parts, ref=ref, others=WRITABLE_BY_OTHERS, limit=MAX_FILE_BYTES)
    except FileNotFoundError:
        raise CannotResolve(f"The secret {ref} does not exist: this worker has no such file.") from None
    except OSError as error:
        raise CannotResolve(f"The secret {ref} cannot be read: {error.strerror}.") from error
    try:
        tree = read_yaml(decrypt(data, password), path)
    except NotDecrypted as why:
        raise CannotResolve(
            f"The secret {ref} cannot be decrypted: {why}; look at {PASSWORD} and at the file."
        ) from None
    except InvalidFile as error:  # its text may repeat what stands in the file
        line = error.problems[0].line
        where = f" (line {line})" if line else ""
        raise CannotResolve(f"The secret {ref} cannot be read: its file is not plain YAML{where}.") from None
    if not isinstance(tree.value, dict):
        raise CannotResolve(f"The secret {ref} cannot be read: its file is no mapping of names to values.")
    return tree.value
