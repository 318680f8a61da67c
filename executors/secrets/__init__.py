"""Owns how references become secret values, and how those values are kept out of everything we store.

Each attempt resolves anew what its one system needs: what was rotated is used from the next attempt on, and nothing is
kept. It must not know documents, runs or pages.
"""

from types import TracebackType
from typing import TYPE_CHECKING

from changes.secret_refs import is_secret_ref
from executors.secrets.ansible_vault import EncryptedFiles
from executors.secrets.local import CannotResolve, Missing, Unavailable, draft, finish, from_environment, from_file
from executors.secrets.masking import MASK, MIN_LENGTH, Masker, can_be_masked

if TYPE_CHECKING:
    from executors.secrets.vault import Vault

__all__ = ["MASK", "MIN_LENGTH", "CannotResolve", "Masker", "Missing", "Resolver", "Unavailable", "draft", "finish"]


class Resolver:
    """References to values for one attempt; `known` are those found so far. Use as a context manager."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._encrypted = EncryptedFiles()
        self._vault: Vault | None = None

    def __enter__(self) -> "Resolver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vault:
            self._vault.close()

    def resolve(self, ref: str, *, generate: bool = False) -> str:
        """Raises CannotResolve, or Unavailable. With `generate` Vault makes what is not there yet, once."""
        value = self._found(ref, generate)
        if len(value) < MIN_LENGTH:
            raise CannotResolve(f"The secret {ref} is shorter than {MIN_LENGTH} characters; use a longer value.")
        if not can_be_masked(value):
            message = f"Every line of the secret {ref} is shorter than {MIN_LENGTH} characters; use longer lines."
            raise CannotResolve(message)
        self.known.append(value)
        return value

    def _found(self, ref: str, generate: bool) -> str:
        if not is_secret_ref(ref):
            raise CannotResolve(f"The secret {ref} is no reference to a place by plain names.")
        provider, _, place = ref.partition(":")
        match provider:
            case "env":
                return from_environment(place, ref=ref)
            case "file":
                return from_file(place, ref=ref)
            case "ansible-vault":
                return self._encrypted.value(place, ref=ref)
            case "vault":
                return self._of_vault().value(place, ref=ref, generate=generate)
        raise CannotResolve(f"The secret {ref} has no known provider.")

    def _of_vault(self) -> "Vault":
        from executors.secrets.vault import Vault  # its client takes long to import, and web needs none

        self._vault = self._vault or Vault()
        return self._vault
