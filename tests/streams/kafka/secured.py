"""One Kafka as companies run it, for tests: TLS, users, certificates of clients, and rights.

Certificates are made by openssl, of an authority of our own. `admin` may do all, and so may whoever
comes by the plain listener, which the broker itself uses; `alice` may do what a whole rluf needs;
`bob` has what a test grants him. All passwords are the same.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from streams.config import StreamsConfig
from streams.events import new_id
from streams.kafka.broker import _free_port
from streams.kafka.jars import ensure_jars, read_lock
from streams.kafka.java import find_java
from streams.kafka.kraft import format_home, java_arguments, write_config
from streams.kafka.reach import require_reachable
from streams.kafka.security import SecurityConfig
from tests.conftest import CACHE

PASSWORD = "s3cret={of}, alice"
"""With characters that settings, JSON or JAAS might stumble over."""
START_WAIT_S = 120.0
LISTENERS = ("SASL_SSL", "MUTUAL", "SASL_PLAINTEXT", "TLS")


@dataclass(frozen=True, slots=True)
class Secured:
    """The running broker."""

    ports: dict[str, int]
    folder: Path

    def brokers(self, listener: str, host: str = "localhost") -> str:
        """host:port of a listener; its certificate is of localhost and of no address."""
        return f"{host}:{self.ports[listener]}"

    def security(self, **changes: object) -> SecurityConfig:
        """As alice, by SCRAM over TLS."""
        fields: dict[str, object] = {
            "protocol": "SASL_SSL",
            "mechanism": "SCRAM-SHA-512",
            "username": "alice",
            "password": PASSWORD,
            "ca_file": str(self.folder / "ca.pem"),
        }
        return SecurityConfig(**(fields | changes))  # type: ignore[arg-type]

    def config(self, listener: str = "SASL_SSL", **changes: object) -> StreamsConfig:
        """Topics and a group of their own, with rights by their prefix."""
        fields: dict[str, object] = {
            "brokers": self.brokers(listener),
            "security": self.security(),
            "prefix": f"{new_id()}.",
            "partitions": 1,
        }
        return StreamsConfig(**(fields | changes))  # type: ignore[arg-type]

    def grant(self, user: str, operation: str, kind: str, name: str) -> None:
        """Allow a user something on the topics or groups whose names begin so."""
        with closing(KafkaAdminClient(bootstrap_servers=self.brokers("PLAINTEXT"))) as admin:
            admin.create_acls(
                [
                    ACL(
                        principal=f"User:{user}",
                        host="*",
                        operation=ACLOperation[operation.upper()],
                        permission_type=ACLPermissionType.ALLOW,
                        resource_pattern=ResourcePattern(
                            ResourceType[kind.upper()], name, ACLResourcePatternType.PREFIXED
                        ),
                    )
                ]
            )


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_authority(folder: Path, name: str) -> None:
    """NAME.pem and NAME.key: who signs certificates."""
    openssl(
        *(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"),
        *("-subj", f"/CN=authority {name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
    )


def make_certificate(folder: Path, name: str, *, host: str = "", is_old: bool = False) -> None:
    """NAME.pem and NAME.key, signed by `ca`; of a host, or of a client who is called so."""
    openssl(
        *(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
    )
    (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{host}\n" if host else "")
    (folder / f"{name}.db").write_text("")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=a\n[a]\ndefault_md=sha256\npolicy=p\nunique_subject=no\n"
        f"database={name}.db\nserial={name}.serial\nrand_serial=yes\n"
        "[p]\ncommonName=supplied\n"
    )
    openssl(
        *(folder, "ca", "-batch", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"),
        *("-outdir", ".", "-in", f"{name}.csr", "-out", f"{name}.pem", "-notext"),
        *("-extfile", f"{name}.ext", "-startdate", "20200101000000Z"),
        *("-enddate", "20200102000000Z" if is_old else "20491231000000Z"),
    )


def _properties(folder: Path, ports: dict[str, int]) -> dict[str, object]:
    (folder / "broker.store.pem").write_text(
        (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
    )
    protocols = {"PLAINTEXT": "PLAINTEXT", "MUTUAL": "SSL", "TLS": "SSL"}
    listeners = [f"{name}://localhost:{port}" for name, port in ports.items()]
    escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    login = "org.apache.kafka.common.security"
    users = " ".join(f'user_{name}="{escaped}"' for name in ("alice", "bob"))
    by_sasl = {}
    for name in ("sasl_ssl", "sasl_plaintext"):
        by_sasl[f"listener.name.{name}.plain.sasl.jaas.config"] = (
            f"{login}.plain.PlainLoginModule required {users};"
        )
        for digest in ("256", "512"):
            by_sasl[f"listener.name.{name}.scram-sha-{digest}.sasl.jaas.config"] = (
                f"{login}.scram.ScramLoginModule required;"
            )
        by_sasl[f"listener.name.{name}.sasl.enabled.mechanisms"] = (
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512" if name == "sasl_ssl" else "SCRAM-SHA-512"
        )
    return {
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(n for n in listeners if not n.startswith("CONTROLLER")),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocols.get(name, 'PLAINTEXT' if name == 'CONTROLLER' else name)}"
            for name in ports
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": folder / "broker.store.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": folder / "ca.pem",
        "listener.name.mutual.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:CN=alice",
        **by_sasl,
    }


@contextmanager
def secured_kafka(folder: Path) -> Iterator[Secured]:
    """Start it, with its users, and end it after."""
    for sub in (folder, folder / "logs", folder / "tmp"):
        sub.mkdir(parents=True, exist_ok=True)
    for name in ("ca", "other"):
        make_authority(folder, name)
    make_certificate(folder, "broker", host="localhost")
    make_certificate(folder, "alice")
    ports = {name: _free_port() for name in ("PLAINTEXT", "CONTROLLER", *LISTENERS)}
    path = write_config(folder, ports["PLAINTEXT"], ports["CONTROLLER"])
    told = dict(line.split("=", 1) for line in path.read_text().splitlines())
    told["controller.quorum.voters"] = f"1@localhost:{ports['CONTROLLER']}"
    told |= {key: str(value) for key, value in _properties(folder, ports).items()}
    path.write_text("".join(f"{key}={value}\n" for key, value in told.items()))
    jars = ensure_jars(CACHE, read_lock(), lambda _: None)
    command = [str(find_java(None)), *java_arguments(folder, jars)]
    format_home(command, path, folder)
    with (folder / "logs" / "broker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "kafka.Kafka", str(path)], stdout=log, stderr=log, env=dict(os.environ)
        )
    try:
        secured = Secured(ports, folder)
        plain = StreamsConfig(brokers=secured.brokers("PLAINTEXT"))
        try:
            require_reachable(plain, wait_s=START_WAIT_S)
            _make_users(secured)
        except Exception:
            print((folder / "logs" / "broker.log").read_text()[-4_000:])
            raise
        yield secured
    finally:
        process.terminate()
        process.wait()


def _make_users(secured: Secured) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=secured.brokers("PLAINTEXT"))) as admin:
        until = time.monotonic() + START_WAIT_S
        while not admin.describe_cluster()["brokers"] and time.monotonic() < until:
            time.sleep(0.1)
        for user in ("alice", "bob"):
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                made = UserScramCredentialUpsertion(user, mechanism, PASSWORD)
                assert admin.alter_user_scram_credentials([made]) == {user: None}
    for operation in ("Read", "Write", "Create", "Describe", "Delete"):
        secured.grant("alice", operation, "topic", "0")  # All that `new_id` begins with.
    secured.grant("alice", "Read", "group", "0")
