"""Owns one blocking connection to a Kafka broker, on kafka-python's codecs: sign in, ask, take the answer.

It serves what confluent-kafka cannot: quotas of clients, trying a user's password without threads and retries, and
ACLs of a broker that is no Apache Kafka (a wrong answer to CreateAcls aborts librdkafka and the whole process with it).
It must not know kinds.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any

import kafka.errors
from ansible.module_utils.mergeyard.pairing import SystemDown, Unsure  # type: ignore[import-not-found]
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.admin import DescribeClusterRequest
from kafka.protocol.metadata import ApiVersionsRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

CONNECT_SECONDS = 3
ANSWER_SECONDS = 20
NOT_AUTHORIZED = 31
WRONG_CREDENTIALS = 58
UNKNOWN_MECHANISM = 33
TOOK_TOO_LONG = (7, 13)  # REQUEST_TIMED_OUT, NETWORK_EXCEPTION
UNKNOWN = {31}  # the one bit that is set where a broker does not say what is allowed

logging.getLogger("kafka").addHandler(logging.NullHandler())
logging.getLogger("kafka").propagate = False


class NotSignedIn(Exception):
    """The broker does not take this user with this password."""


class OtherMechanisms(Exception):
    """The listener does not sign in by this mechanism; the text names those by which it does."""


def said(code: int, message: str | None) -> str:
    """What the broker answered, as a sentence; empty if it did as it was asked."""
    if not code:
        return ""
    if code == NOT_AUTHORIZED:  # Apache Kafka's own text is a look into its memory
        return "Kafka refused it: whom Mergeyard signs in as may not change that on the cluster."
    text = message or kafka.errors.for_code(code).description or kafka.errors.for_code(code).__name__
    return failure(code, text)


def failure(code: int, text: str) -> str:
    """Why something failed; Unsure where that is no refusal by the broker, as it may have been done or come yet."""
    sentence = f"Kafka refused it: {' '.join(text.split()).rstrip('.')}."
    return sentence if code > 0 and code not in TOOK_TOO_LONG else Unsure(sentence)


def addresses(servers: str) -> Iterator[tuple[str, int]]:
    for server in servers.split(","):
        host, _, port = server.rpartition(":")
        yield host, int(port)


class Broker:
    """The first of `servers` that answers. Raises SystemDown where none does, or in the middle of a question."""

    def __init__(self, servers: str, protocol: str, mechanism: str = "", user: str = "", password: str = "") -> None:
        self.servers, self.codec = servers, KafkaProtocol(client_id="mergeyard")
        self.socket = self._connect(protocol)
        try:
            if protocol.startswith("SASL_"):
                self._sign_in(mechanism, user, password)
        except BaseException:
            self.close()
            raise

    def _connect(self, protocol: str) -> socket.socket:
        problem = "nothing listens there"
        for host, port in addresses(self.servers):
            try:
                connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
                connection.settimeout(ANSWER_SECONDS)
                if protocol.endswith("SSL"):
                    return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
            except OSError as error:
                problem = (error.strerror or str(error)).lower()
            else:
                return connection
        raise SystemDown(f"No Kafka broker answers at {self.servers}: {problem}.")

    def _sign_in(self, mechanism: str, user: str, password: str) -> None:
        answer = self.ask(SaslHandshakeRequest(version=1, mechanism=mechanism))
        if answer.error_code == UNKNOWN_MECHANISM:
            raise OtherMechanisms(", ".join(answer.mechanisms) or "none")
        if answer.error_code:
            raise SystemDown(f"The listener at {self.servers} signs nobody in. {said(answer.error_code, None)}")
        exchange = get_sasl_mechanism(mechanism)(
            host=self.servers, sasl_mechanism=mechanism, sasl_plain_username=user, sasl_plain_password=password
        )
        while not exchange.is_done():
            answer = self.ask(SaslAuthenticateRequest(version=1, auth_bytes=exchange.auth_bytes()))
            if answer.error_code == WRONG_CREDENTIALS:
                raise NotSignedIn(answer.error_message or "")
            if answer.error_code:
                raise SystemDown(
                    f"Nobody can sign in at {self.servers}. {said(answer.error_code, answer.error_message)}"
                )
            try:
                exchange.receive(answer.auth_bytes)
            except (ValueError, KeyError) as error:
                raise NotSignedIn("the broker does not know the password either") from error

    def ask(self, request: Any) -> Any:
        try:
            self.codec.send_request(request)
            self.socket.sendall(self.codec.send_bytes())
            while part := self.socket.recv(65536):
                for _, answer in self.codec.receive_bytes(part):
                    return answer
        except OSError as error:
            raise SystemDown(f"Kafka at {self.servers} does not answer: {error.strerror or error}.") from error
        except (IndexError, ValueError, struct.error, kafka.errors.KafkaError) as error:
            raise SystemDown(
                f"What Kafka at {self.servers} answered to {request.name} is not as Kafka does."
            ) from error
        raise SystemDown(f"Kafka at {self.servers} closed the connection when asked for {request.name}.")

    def offers(self, requests: tuple[Any, ...]) -> bool:
        """Whether the broker says that it can be asked these, each in the version that it has here."""
        versions = {one.api_key: one for one in self.ask(ApiVersionsRequest(version=0)).api_keys}
        return all(request.API_KEY in versions for request in requests)

    def may(self, operation: int) -> bool:
        """Whether who is signed in may do this (a number as of ACLs) on the cluster, as far as the broker says."""
        if not self.offers((DescribeClusterRequest,)):
            return True
        answer = self.ask(DescribeClusterRequest(version=0, include_cluster_authorized_operations=True))
        allowed = answer.authorized_operations
        return bool(answer.error_code) or allowed in (None, UNKNOWN) or operation in allowed

    def close(self) -> None:
        self.socket.close()
