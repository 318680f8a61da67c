"""Owns the one client of HashiCorp Vault and OpenBao: `vault:PATH#FIELD` is a field in a KV engine of version 2.

The key to it is read from its file for every attempt, so a new one needs no restart. Every answer is small and comes
in time, or it is none: a Vault that is away, sealed or slow is Unavailable and asked again while there is time; what a
person has to mend is CannotResolve. No text of Vault's is repeated. It must not know other providers.
"""

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import hvac
import requests
from django.conf import settings
from hvac import exceptions

from executors.secrets.local import CannotResolve, Missing, Unavailable, generated, key

T = TypeVar("T")

MAX_ANSWER = 1_000_000  # bytes
PAUSE = 0.5  # seconds
RACES = 5
LOOPBACK = ("127.0.0.1", "::1", "localhost")
AWAY = (
    exceptions.VaultDown,  # sealed
    exceptions.VaultNotInitialized,
    exceptions.InternalServerError,
    exceptions.BadGateway,
    exceptions.RateLimitExceeded,
    exceptions.UnexpectedError,  # 412: not there yet, 472 and 473: a standby, 504
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is at a path: its fields, and the version to which a write must be bound (0: nothing was there ever)."""

    fields: dict[str, Any]
    version: int


class Vault:
    """For one attempt: signs in at the first reference, out again at the end."""

    def __init__(self) -> None:
        self._client: Any = None
        self._read: dict[str, Stored] = {}

    def value(self, place: str, *, ref: str, generate: bool) -> str:
        """Raises CannotResolve or Unavailable within MERGEYARD_VAULT_TIMEOUT_SECONDS."""
        path, _, field = place.partition("#")
        limit = time.monotonic() + settings.MERGEYARD_VAULT_TIMEOUT_SECONDS
        while True:
            try:
                return _within(limit, lambda: self._value(path, field, ref, generate), ref=ref)
            except Unavailable:
                if time.monotonic() + PAUSE > limit:
                    raise
                time.sleep(PAUSE)

    def close(self) -> None:
        """What an AppRole's login gave is given back."""
        client, self._client = self._client, None
        if client is None:
            return
        with contextlib.suppress(Exception):  # it ends by itself
            if settings.MERGEYARD_VAULT_ROLE_ID:
                _within(time.monotonic() + 2, client.auth.token.revoke_self, ref="")
            client.adapter.close()

    def _value(self, path: str, field: str, ref: str, generate: bool) -> str:
        with _told(ref, path):
            client = self._signed_in(ref)
            for _ in range(RACES):
                stored = self._stored(client, path, ref)
                if field in stored.fields:
                    return _text(stored.fields[field], ref)
                if not generate:
                    what = f"its entry has no field {field}" if stored.version else "nothing is there"
                    raise Missing(f"The secret {ref} does not exist in Vault: {what}; put it there.")
                self._write(client, path, Stored({**stored.fields, field: generated()}, stored.version))
        raise Unavailable(f"The secret {ref} could not be made: others write to the same entry of Vault all the time.")

    def _stored(self, client: Any, path: str, ref: str) -> Stored:
        if path not in self._read:
            self._read[path] = _read(client, path, ref)
        return self._read[path]

    def _write(self, client: Any, path: str, wanted: Stored) -> None:
        """Holds only for the version that was read: of two workers the first wins and the second reads it."""
        self._read.pop(path)
        try:
            client.secrets.kv.v2.create_or_update_secret(
                path, secret=wanted.fields, cas=wanted.version, mount_point=settings.MERGEYARD_VAULT_MOUNT
            )
        except exceptions.InvalidRequest as error:
            if "check-and-set" not in str(error):
                raise

    def _signed_in(self, ref: str) -> Any:
        if self._client is None:
            client = _client(ref)
            if settings.MERGEYARD_VAULT_ROLE_ID:
                secret_id = key("MERGEYARD_VAULT_SECRET_ID_FILE", ref=ref)
                _log_in(client, secret_id, ref)
            else:
                client.token = key("MERGEYARD_VAULT_TOKEN_FILE", ref=ref)
            self._client = client
        return self._client


def _read(client: Any, path: str, ref: str) -> Stored:
    mount = settings.MERGEYARD_VAULT_MOUNT
    try:
        answer = client.secrets.kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
    except exceptions.InvalidPath as error:
        if isinstance(error.json, dict) and error.json.get("data"):
            message = (
                f"The latest version of the secret {ref} was deleted in Vault; restore it, or put a new one there."
            )
            raise CannotResolve(message) from None
        return Stored({}, 0)
    if not isinstance(answer, dict):
        raise CannotResolve(_no_vault(ref, answer.status_code))
    return Stored(dict(answer["data"]["data"]), int(answer["data"]["metadata"]["version"]))


def _text(value: object, ref: str) -> str:
    if not isinstance(value, str):
        raise CannotResolve(f"The secret {ref} is not a text in Vault; put it there as one.")
    return value.removesuffix("\n")


def _log_in(client: Any, secret_id: str, ref: str) -> None:
    role, mount = settings.MERGEYARD_VAULT_ROLE_ID, settings.MERGEYARD_VAULT_APPROLE_MOUNT
    try:
        client.auth.approle.login(role, secret_id=secret_id, mount_point=mount)
    except (exceptions.InvalidRequest, exceptions.InvalidPath, exceptions.Forbidden, exceptions.Unauthorized):
        raise CannotResolve(
            f"The secret {ref} cannot be read: Vault refuses this worker's AppRole; look at MERGEYARD_VAULT_ROLE_ID, "
            "MERGEYARD_VAULT_SECRET_ID_FILE and MERGEYARD_VAULT_APPROLE_MOUNT."
        ) from None


def _client(ref: str) -> Any:
    address = settings.MERGEYARD_VAULT_ADDRESS
    if not address:
        raise CannotResolve(f"The secret {ref} cannot be read: MERGEYARD_VAULT_ADDRESS is not set on this worker.")
    parts = urlsplit(address)
    if not parts.hostname or (parts.scheme != "https" and parts.hostname not in LOOPBACK):
        raise CannotResolve(f"The secret {ref} cannot be read: MERGEYARD_VAULT_ADDRESS must begin with https://.")
    session = requests.Session()
    session.trust_env = False  # settings say where it is; no proxy, no other certificates, no .netrc
    session.verify = settings.MERGEYARD_VAULT_CA_FILE or True
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Small())
    return hvac.Client(
        url=address,
        token="",  # none yet, and none from the environment
        verify=session.verify,
        timeout=max(0.1, settings.MERGEYARD_VAULT_TIMEOUT_SECONDS),
        allow_redirects=False,  # the key goes to this address and to no other
        session=session,
        namespace=settings.MERGEYARD_VAULT_NAMESPACE or None,
    )


class _TooLarge(Exception):
    pass


class _Small(requests.adapters.HTTPAdapter):  # type: ignore[misc]
    """Reads no more of an answer than MAX_ANSWER."""

    def send(self, request: Any, stream: bool = False, **how: Any) -> Any:
        response = super().send(request, stream=True, **how)
        with contextlib.closing(response.raw):
            data = response.raw.read(MAX_ANSWER + 1, decode_content=True)
        if len(data) > MAX_ANSWER:
            raise _TooLarge
        response.raw = io.BytesIO(data)
        return response


def _no_vault(ref: str, status: int) -> str:
    if 300 <= status < 400:
        why = "it sends us to another address; name the one that answers"
    else:
        why = "what answers is no KV engine of version 2"
    return f"The secret {ref} cannot be read from MERGEYARD_VAULT_ADDRESS: {why}."


@contextlib.contextmanager
def _told(ref: str, path: str) -> Iterator[None]:
    """What went wrong, in a sentence of ours."""
    mount = settings.MERGEYARD_VAULT_MOUNT
    try:
        yield
    except (exceptions.Forbidden, exceptions.Unauthorized):
        raise CannotResolve(
            f"Vault does not let this worker use {ref}: its token must be valid and have a policy for "
            f"{mount}/data/{path}."
        ) from None
    except AWAY as error:
        why = "is sealed" if "sealed" in str(error) else f"cannot answer ({type(error).__name__})"
        raise Unavailable(f"Vault {why}, so the secret {ref} was not read.") from None
    except exceptions.VaultError:
        raise CannotResolve(f"Vault refuses the request for {ref}; look at MERGEYARD_VAULT_MOUNT.") from None
    except _TooLarge:
        raise CannotResolve(f"Vault's answer for {ref} is larger than {MAX_ANSWER} bytes.") from None
    except requests.exceptions.SSLError:
        message = f"The secret {ref} was not read: Vault's certificate is not trusted; look at MERGEYARD_VAULT_CA_FILE."
        raise CannotResolve(message) from None
    except requests.exceptions.RequestException as error:
        raise Unavailable(f"Vault cannot be reached ({_cause(error)}), so the secret {ref} was not read.") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CannotResolve(_no_vault(ref, 200)) from None
    except OSError:  # the CA file
        message = f"The secret {ref} was not read: MERGEYARD_VAULT_CA_FILE cannot be read on this worker."
        raise CannotResolve(message) from None


def _cause(error: Exception) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    return "no connection" if isinstance(error, requests.exceptions.ConnectionError) else type(error).__name__


def _within(limit: float, call: Callable[[], T], *, ref: str) -> T:
    """Time-outs of a client count from byte to byte and leave out the name's look-up, so they bound nothing alone."""
    found: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.0, limit - time.monotonic()))
    if raised:
        raise raised[0]
    if not found:
        raise Unavailable(f"Vault did not answer in time, so the secret {ref} was not read.")
    return found[0]
