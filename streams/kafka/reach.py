"""Whether a broker can be reached with our settings, and if not, why, within seconds.

Client libraries say "unable to bootstrap" of everything: a broker that is down, one that speaks TLS
where we do not, a certificate of another authority, a wrong password. Here the first words of the
protocol are spoken by hand, over a connection of our own, and each way in which they can fail has
its sentence. Then the libraries connect.

The requests are the oldest versions of each, which every broker since Kafka 1.0 takes (KIP-152).
"""

import socket
import ssl
import struct
import time
from contextlib import closing
from dataclasses import dataclass

from kafka.net.sasl import get_sasl_mechanism

from streams.config import StreamsConfig
from streams.errors import Refused, Unavailable
from streams.kafka.security import SecurityConfig, client_settings, for_tls

CONNECT_TIMEOUT_S = 3.0
"""Longest wait for a connection, and for each answer."""
PAUSE_S = 0.2
ANSWER_BYTES_MAX = 100 * 2**20
METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 3, 17, 18, 36
"""Kinds of requests."""
UNSUPPORTED_MECHANISM, ILLEGAL_STATE = 33, 34
"""Errors of the handshake."""


class Closed(Exception):
    """The broker closed the connection, or said what no Kafka says."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def addresses(brokers: str) -> list[Address]:
    """The brokers of `host:port,host:port`. Raises ValueError."""
    found = []
    for text in filter(None, (part.strip() for part in brokers.split(","))):
        host, _, port = text.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"saw broker {text!r}, must be host:port")
        found.append(Address(host.removeprefix("[").removesuffix("]"), int(port)))
    if not found:
        raise ValueError("no broker is named, must be host:port with commas")
    return found


def require_reachable(config: StreamsConfig, *, wait_s: float) -> None:
    """Return once a broker answers us.

    Raises Refused at once where one answers and none will have us as we are, and Unavailable where
    none answers within `wait_s`, or within one try.
    """
    until = time.monotonic() + wait_s
    while True:
        reasons: list[str] = []
        refusals: list[str] = []
        for number, address in enumerate(addresses(config.brokers)):
            if number and time.monotonic() > until:
                break
            try:
                greet(address, config.security)
            except Refused as refusal:
                refusals.append(str(refusal))
            except Unavailable as reason:
                reasons.append(str(reason))
            else:
                return
        if refusals:
            raise Refused(f"Kafka at {config.brokers}: {'; '.join(dict.fromkeys(refusals))}")
        if time.monotonic() + PAUSE_S > until:
            raise Unavailable(f"Kafka at {config.brokers}: {'; '.join(dict.fromkeys(reasons))}")
        time.sleep(PAUSE_S)


def greet(address: Address, security: SecurityConfig) -> None:
    """Connect, say who we are, and ask one thing. Raises Refused and Unavailable."""
    with (
        closing(_connect(address)) as plain,
        closing(_encrypted(plain, address, security)) as stream,  # Closing `plain` leaves TLS open.
    ):
        try:
            _ask(stream, API_VERSIONS, 0)
        except Closed:
            if not security.has_tls and _speaks_tls(address):
                raise Refused(
                    f"{address} speaks TLS and streams.security.protocol is {security.protocol};"
                    " must be SSL or SASL_SSL"
                ) from None
            raise Unavailable(f"{address} answers, but not as Kafka does") from None
        except ssl.SSLError as fault:  # TLS 1.3 tells only now what it thinks of our certificate.
            raise _unwelcome(address, security, fault) from None
        except OSError as fault:
            raise Unavailable(f"{address} does not answer: {fault}") from None
        try:
            if security.has_sasl:
                _authenticate(stream, address, security)
            _ask(stream, METADATA, 1, struct.pack(">i", 0))
        except (Closed, OSError):
            if security.has_sasl:
                raise Unavailable(f"{address} closed the connection") from None
            wanted = "SASL_SSL" if security.has_tls else "SASL_PLAINTEXT or SASL_SSL"
            raise Refused(
                f"{address} closes the connection before it answers: it wants a user and password,"
                f" and streams.security.protocol is {security.protocol}; must be {wanted}"
            ) from None


def _connect(address: Address) -> socket.socket:
    try:
        return socket.create_connection((address.host, address.port), CONNECT_TIMEOUT_S)
    except OSError as fault:
        raise Unavailable(f"nothing answers at {address} ({fault.strerror or fault})") from None


def _encrypted(
    plain: socket.socket, address: Address, security: SecurityConfig
) -> socket.socket | ssl.SSLSocket:
    """The connection as it is, or in TLS. Raises Refused and Unavailable."""
    context = for_tls(security)
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=address.host)
    except ssl.SSLCertVerificationError as fault:
        raise Refused(
            f"the certificate of {address} is not to be trusted: {fault.verify_message}"
            f" (ca_file: {security.ca_file or 'those the system trusts'})"
        ) from None
    except (ssl.SSLError, OSError) as fault:
        if _speaks_plain(address):
            wanted = "SASL_PLAINTEXT" if security.has_sasl else "PLAINTEXT"
            raise Refused(
                f"{address} does not speak TLS and streams.security.protocol is"
                f" {security.protocol}; must be {wanted}, or the port another"
            ) from None
        if isinstance(fault, ssl.SSLError) and "ALERT" in (fault.reason or ""):
            raise _unwelcome(address, security, fault) from None
        raise Unavailable(f"{address} breaks off TLS: {fault}") from None


def _unwelcome(address: Address, security: SecurityConfig, fault: ssl.SSLError) -> Refused:
    what = f"takes no certificate of {security.cert_file}" if security.cert_file else ""
    return Refused(
        f"{address} {what or 'wants a certificate of ours: set streams.security.cert_file'}"
        f" ({(fault.reason or str(fault)).replace('_', ' ').lower()})"
    )


def _authenticate(stream: socket.socket, address: Address, security: SecurityConfig) -> None:
    """Say who we are. Raises Refused, Closed and OSError."""
    answer = _ask(stream, SASL_HANDSHAKE, 1, _string(security.mechanism))
    (code,) = struct.unpack_from(">h", answer)
    if code == UNSUPPORTED_MECHANISM:
        offered = ", ".join(_strings(answer[2:])) or "none"
        raise Refused(
            f"{address} does not take streams.security.mechanism {security.mechanism};"
            f" it takes {offered}"
        )
    if code == ILLEGAL_STATE:
        wanted = "SSL" if security.has_tls else "PLAINTEXT"
        raise Refused(
            f"{address} asks nobody for a password and streams.security.protocol is"
            f" {security.protocol}; must be {wanted}, or the port another"
        )
    mechanism = get_sasl_mechanism(security.mechanism)(
        host=address.host, **client_settings(security)
    )
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        answer = _ask(stream, SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
        (code,) = struct.unpack_from(">h", answer)
        (size,) = struct.unpack_from(">h", answer, 2)
        said, rest = answer[4 : 4 + max(0, size)], answer[4 + max(0, size) :]
        if code:
            raise Refused(
                f"{address} does not let in {security.who} by {security.mechanism}:"
                f" {said.decode(errors='replace') or f'error {code}'}"
            )
        mechanism.receive(rest[4:])


def _speaks_tls(address: Address) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # Nothing is said over it.
    try:
        with closing(_connect(address)) as plain, closing(context.wrap_socket(plain)):
            return True
    except ssl.SSLError as fault:
        return "ALERT" in (fault.reason or "")
    except (Unavailable, OSError):
        return False


def _speaks_plain(address: Address) -> bool:
    try:
        with closing(_connect(address)) as plain:
            _ask(plain, API_VERSIONS, 0)
    except (Unavailable, Closed, OSError):
        return False
    return True


def _ask(stream: socket.socket, kind: int, version: int, body: bytes = b"") -> bytes:
    """The answer to a request, without its header. Raises Closed and OSError."""
    request = struct.pack(">hhi", kind, version, 1) + _string("rluf") + body
    try:
        stream.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _exactly(stream, 4))
        if not 4 <= size <= ANSWER_BYTES_MAX:
            raise Closed
        return _exactly(stream, size)[4:]
    except (ConnectionError, ssl.SSLEOFError):
        raise Closed from None


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = stream.recv(size - len(found))
        if not more:
            raise Closed
        found += more
    return found


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _strings(raw: bytes) -> list[str]:
    """An array of strings."""
    (count,) = struct.unpack_from(">i", raw)
    found, at = [], 4
    for _ in range(count):
        (size,) = struct.unpack_from(">h", raw, at)
        found.append(raw[at + 2 : at + 2 + size].decode())
        at += 2 + size
    return found
