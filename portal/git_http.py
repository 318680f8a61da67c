"""Git over HTTP: git's own `http-backend` behind a small ASGI app that streams both ways.

Owns authentication by token, the few paths that git's smart protocol needs, and the process's life: nothing is
collected in memory, and a client that goes away ends the process. Knows no document; what a push means is
`changes.workflow`'s.
"""

import asyncio
import base64
import binascii
import contextlib
import functools
import logging
import os
import re
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from changes import tokens, workflow
from changes.crash_points import crash_point
from changes.forges.builtin import push_by, read_note
from changes.models import User
from changes.repository import RepositoryError, state

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

PREFIX = "/git/"
REPOSITORY = "state.git"
CHUNK = 64 * 1024
MAX_HEADERS = 64 * 1024
IDLE_SECONDS = 300
REQUEST_SECONDS = 1800  # with the wait for a slot: whoever sends or reads slowly holds it no longer
ENDING_SECONDS = 10
AT_ONCE = 16
AT_ONCE_OF_ONE = 4  # person
CLOSED_PIPE = (BrokenPipeError, ConnectionResetError, RuntimeError)  # the last one is uvloop's word for it
SERVICES = ("git-upload-pack", "git-receive-pack")
_PATHS = re.compile(r"/(info/refs|git-upload-pack|git-receive-pack)")
_FORWARDED = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": "CONTENT_LENGTH",
    b"content-encoding": "HTTP_CONTENT_ENCODING",
    b"git-protocol": "HTTP_GIT_PROTOCOL",
    b"accept": "HTTP_ACCEPT",
}
_slots = asyncio.Semaphore(AT_ONCE)
_own_slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE_OF_ONE))  # by user name


class _Refusal(Exception):
    """An answer instead of git's: a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class _Gone(Exception):
    """The client went away, or said nothing for too long."""


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application below /git/."""
    async with ThreadSensitiveContext():
        try:
            service, variables = _asked(scope)
            user = await _database(functools.partial(_person, scope))
            await _in_time(user, service, variables, receive=receive, send=send)
        except _Refusal as refusal:
            await _answer(send, refusal)
        except _Gone:
            log.info("a git client went away")


async def _in_time(user: User, service: str, variables: dict[str, str], *, receive: Receive, send: Send) -> None:
    """Serve it as soon as the person has a slot left, and there is one at all."""
    begun = False

    async def send_on(message: Message) -> None:
        nonlocal begun
        begun = True
        async with asyncio.timeout(IDLE_SECONDS):
            await send(message)

    try:
        async with asyncio.timeout(REQUEST_SECONDS), _own_slots[user.username], _slots:
            await _serve(user, service, variables, receive=receive, send=send_on)
    except TimeoutError as problem:
        if begun:
            raise _Gone from problem
        raise _Refusal(503, "This took too long, or too much was going on: try again later.") from problem


def _asked(scope: Message) -> tuple[str, dict[str, str]]:
    """The service that is asked for, and the request as CGI variables."""
    path, method = scope["path"], scope["method"]
    below = path.removeprefix(f"{PREFIX}{REPOSITORY}")
    if below == path or not _PATHS.fullmatch(below):
        raise _Refusal(404, f"There is no such repository here: clone {PREFIX}{REPOSITORY} instead.")
    query = scope.get("query_string", b"").decode("latin-1")
    asked = parse_qs(query).get("service", [""]) if below == "/info/refs" else [below[1:]]
    service = asked[0]
    if service not in SERVICES:
        raise _Refusal(403, "This git client is too old: only the smart HTTP protocol is spoken here.")
    if method != ("GET" if below == "/info/refs" else "POST"):
        raise _Refusal(405, f"{method} is not something git does here.")
    variables = {"REQUEST_METHOD": method, "QUERY_STRING": query, "PATH_INFO": below, "REMOTE_ADDR": ""}
    for name, value in scope["headers"]:
        if name in _FORWARDED:
            variables[_FORWARDED[name]] = value.decode("latin-1")
    if (client := scope.get("client")) is not None:
        variables["REMOTE_ADDR"] = str(client[0])
    return service, variables


def _person(scope: Message) -> User:
    """Whose token it is. Raises a refusal that makes git ask for a user name and password."""
    header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, encoded = header.partition(b" ")
    try:
        given = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == b"basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        given = ""
    username, _, secret = given.partition(":")
    user = tokens.owner(username, secret) if secret else None
    if user is None:
        raise _Refusal(
            401, "Sign in with your user name and, as the password, a token that you make on the page Tokens."
        )
    return user


async def _serve(user: User, service: str, variables: dict[str, str], *, receive: Receive, send: Send) -> None:
    repository = state()
    try:
        repository.main()
    except RepositoryError as problem:
        raise _Refusal(404, str(problem)) from problem
    is_push = service == "git-receive-pack" and variables["REQUEST_METHOD"] == "POST"
    heads, refused = await _database(functools.partial(workflow.push_limits, user)) if is_push else ({}, {})
    with push_by(repository, user.username, heads=heads, refused=refused) as (note, environment):
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment | variables,
            limit=CHUNK,
            start_new_session=True,
        )
        feeding = asyncio.create_task(_feed(process, receive))
        try:
            await _pass_on(process, feeding, send)
        finally:
            await asyncio.shield(_end(process, feeding, note=note))
        await send({"type": "http.response.body", "body": b""})


async def _feed(process: asyncio.subprocess.Process, receive: Receive) -> None:
    """The request's body into the process, as fast as it reads; then wait for the client to go."""
    stdin = process.stdin
    assert stdin is not None
    while True:
        async with asyncio.timeout(IDLE_SECONDS):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        with contextlib.suppress(*CLOSED_PIPE):  # git refused early; its answer says why
            if message.get("body"):
                stdin.write(message["body"])
                await stdin.drain()
        if not message.get("more_body", False):
            break
    with contextlib.suppress(*CLOSED_PIPE):
        stdin.close()
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Gone


async def _pass_on(process: asyncio.subprocess.Process, feeding: "asyncio.Task[None]", send: Send) -> None:
    """The process's answer to the client, chunk by chunk; but for the last, empty one."""
    stdout = process.stdout
    assert stdout is not None
    try:
        head = await _unless_gone(stdout.readuntil(b"\r\n\r\n"), feeding)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as problem:
        raise _Refusal(500, "Git did not answer: try again, and tell the platform team if it stays so.") from problem
    status, headers = _parsed(head)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while chunk := await _unless_gone(stdout.read(CHUNK), feeding):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _unless_gone(reading: Awaitable[T], feeding: "asyncio.Task[None]") -> T:
    """What is read, or _Gone as soon as the client is."""
    task = asyncio.ensure_future(reading)
    try:
        await asyncio.wait({task, feeding}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        task.cancel()
    if isinstance(problem := feeding.exception(), _Gone | TimeoutError):
        raise _Gone from problem
    raise RuntimeError("feeding git failed") from problem


def _parsed(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """The CGI header as an HTTP status and headers."""
    status, headers = 200, []
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        elif colon:
            headers.append((name.lower(), value.strip()))
    return status, headers


async def _end(process: asyncio.subprocess.Process, feeding: "asyncio.Task[None]", *, note: Path) -> None:
    """The process is over or made to be; then what it moved is recorded, before the client hears the end."""
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError, _Gone, TimeoutError):
        await feeding
    try:
        if process.stdout is not None and not process.stdout.at_eof():
            _signal(process, signal.SIGTERM)  # git takes its locks and its quarantine away
        async with asyncio.timeout(ENDING_SECONDS):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()
    await _database(functools.partial(_record, note))


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _record(note: Path) -> None:
    """What a push moved becomes change requests. The note stays when that fails: the controller tries again."""
    push = read_note(note)
    if push is None:
        return
    crash_point("push: refs moved")
    try:
        workflow.record_push(push)
        crash_point("push: recorded")
    except Exception:
        log.exception("recording a push by %s", push.pusher)
        return
    note.unlink(missing_ok=True)


@contextlib.contextmanager
def _own_connection() -> Iterator[None]:
    try:
        yield
    finally:
        connections.close_all()


async def _database(work: Callable[[], T]) -> T:
    """Run something that reads rows in a thread, with a connection that is closed afterwards."""
    return await sync_to_async(_own_connection()(work))()


async def _answer(send: Send, refusal: _Refusal) -> None:
    body = f"{refusal.sentence}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="Mergeyard", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
