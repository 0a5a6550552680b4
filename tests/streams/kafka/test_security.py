"""Goal: every client connects by the same settings, and whoever cannot is told why at once.

Method: one Apache Kafka with TLS, users and rights, spoken to in every right way and in every wrong
way that we could think of; what can be judged without a broker is.
"""

import re
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from streams.config import StreamsConfig
from streams.errors import Refused, Unavailable
from streams.events import new_id
from streams.kafka.broker import _free_port
from streams.kafka.log import measure, read_log
from streams.kafka.producer import Producer
from streams.kafka.reach import addresses, require_reachable
from streams.kafka.security import SecurityConfig, client_settings, password_of, require_usable
from streams.kafka.topics import (
    ensure_topics,
    lag,
    require_sender_rights,
    require_worker_rights,
)
from tests.rluf.command import rluf as run
from tests.rluf.command import start
from tests.streams.kafka.secured import (
    PASSWORD,
    Secured,
    make_authority,
    make_certificate,
    openssl,
    secured_kafka,
)
from tests.streams.samples import reaction
from tests.waiting import WAIT_S, wait_for

SASL = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password": "s3cret"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("secured kafka")) as broker:
        yield broker


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"protocol": "TLS"}, "protocol is 'TLS', must be one of PLAINTEXT, SSL"),
        ({"protocol": "SASL_SSL"}, "mechanism is '', must be one of PLAIN"),
        (SASL | {"mechanism": "GSSAPI"}, "mechanism is 'GSSAPI'"),
        (SASL | {"username": ""}, "username is empty"),
        (SASL | {"mechanism": "SCRAM-SHA-256", "username": "a=b"}, "neither a comma nor an"),
        (SASL | {"password": ""}, "neither password nor password_file is set"),
        (SASL | {"password_file": "f"}, "password and password_file are both set"),
        ({"username": "u"}, "protocol is PLAINTEXT, which has no use for them"),
        ({"ca_file": "f"}, "ca_file is set, but protocol is PLAINTEXT"),
        ({"protocol": "SSL", "key_file": "f"}, "without its cert_file"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_and_say_no_secret(fields, told):
    with pytest.raises(ValueError, match=told) as refusal:
        SecurityConfig(**fields)
    assert "s3cret" not in str(refusal.value)


def test_files_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "no.pem").write_text("no certificate")
    make_authority(tmp_path, "ca")
    make_authority(tmp_path, "other")
    tls = {"protocol": "SSL", "ca_file": str(tmp_path / "ca.pem")}
    sasl = SASL | {"password": "", "password_file": str(tmp_path / "gone")}
    own = {"cert_file": str(tmp_path / "ca.pem"), "key_file": str(tmp_path / "other.key")}
    for fields, told in (
        (sasl, "password_file .*gone cannot be read: No such file"),
        (sasl | {"password_file": str(tmp_path / "empty")}, "password_file .* is empty"),
        (tls | {"ca_file": str(tmp_path / "no.pem")}, "ca_file .* cannot be used"),
        (tls | {"ca_file": str(tmp_path / "gone")}, "ca_file .* cannot be used: No such file"),
        (tls | own, "cannot be used"),
    ):
        with pytest.raises(ValueError, match=told):
            require_usable(SecurityConfig(**fields))


def test_a_password_in_a_file_is_read_without_the_line_break_at_its_end(tmp_path):
    (tmp_path / "p").write_text(" s3 cret\n")
    config = SecurityConfig(**SASL | {"password": "", "password_file": str(tmp_path / "p")})
    assert password_of(config) == " s3 cret"
    assert client_settings(config)["sasl_plain_password"] == " s3 cret"


def test_no_secret_is_in_what_a_traceback_would_show():
    assert "s3cret" not in repr(SecurityConfig(**SASL))


def test_a_key_that_is_encrypted_opens_with_its_password_and_asks_nobody(tmp_path):
    make_authority(tmp_path, "ca")
    openssl(
        *(tmp_path, "pkcs8", "-topk8", "-in", "ca.key", "-out", "hard.key"),
        *("-passout", "pass:s3cret"),
    )
    own = {"protocol": "SSL", "cert_file": str(tmp_path / "ca.pem")}
    hard = own | {"key_file": str(tmp_path / "hard.key")}
    require_usable(SecurityConfig(**hard, key_password="s3cret"))
    (tmp_path / "p").write_text("s3cret\n")
    require_usable(SecurityConfig(**hard, key_password_file=str(tmp_path / "p")))
    for wrong in ({}, {"key_password": "wrong"}):
        with pytest.raises(ValueError, match="cannot be used"):
            require_usable(SecurityConfig(**hard, **wrong))


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:70000", ":9092", "a:1,b"])
def test_brokers_that_cannot_be_meant_are_refused(text):
    with pytest.raises(ValueError, match="must be host:port"):
        addresses(text)


def test_brokers_are_named_with_commas_and_addresses_in_brackets():
    assert [str(each) for each in addresses("a:1, [::1]:2,")] == ["a:1", "::1:2"]


WAYS = {
    "PLAIN": ("SASL_SSL", {"mechanism": "PLAIN"}),
    "SCRAM-SHA-256": ("SASL_SSL", {"mechanism": "SCRAM-SHA-256"}),
    "SCRAM-SHA-512": ("SASL_SSL", {}),
    "SCRAM in the clear": ("SASL_PLAINTEXT", {"protocol": "SASL_PLAINTEXT", "ca_file": ""}),
    "mutual": (
        "MUTUAL",
        {"protocol": "SSL", "mechanism": "", "username": "", "password": "", "own": True},
    ),
}


@pytest.mark.kafka
@pytest.mark.parametrize("way", WAYS)
def test_every_client_of_ours_connects_in_every_way(secured, way):
    listener, changes = WAYS[way]
    changes = dict(changes)
    if changes.pop("own", False):
        changes |= {
            "cert_file": str(secured.folder / "alice.pem"),
            "key_file": str(secured.folder / "alice.key"),
        }
    config = secured.config(listener, security=secured.security(**changes))
    with Producer(config) as producer:
        producer.send(reaction()).result(WAIT_S)
    require_worker_rights(config)
    require_sender_rights(config)
    assert sum(lag(config).values()) == 1
    stretch = measure(config, start=None)
    assert sum(len(records) for records in read_log(config, stretch)) == 1


@pytest.mark.kafka
def test_each_wrong_way_is_told_from_the_others(secured, tmp_path):
    anonymous = {"mechanism": "", "username": "", "password": ""}
    plain = SecurityConfig()
    tls = secured.security(protocol="SSL", **anonymous)
    clear = secured.security(protocol="SASL_PLAINTEXT", ca_file="")
    cases = [
        ("SASL_SSL", plain, "speaks TLS and .* is PLAINTEXT; must be SSL or SASL_SSL"),
        ("SASL_SSL", clear, "speaks TLS and .* is SASL_PLAINTEXT"),
        ("PLAINTEXT", tls, "does not speak TLS and .* is SSL; must be PLAINTEXT"),
        ("SASL_PLAINTEXT", secured.security(), "does not speak TLS .* must be SASL_PLAINTEXT"),
        ("SASL_PLAINTEXT", plain, "wants a user and password, .* is PLAINTEXT"),
        ("SASL_SSL", tls, "wants a user and password, .* is SSL; must be SASL_SSL"),
        ("PLAINTEXT", clear, "asks nobody for a password"),
        ("TLS", secured.security(), "asks nobody for a password .* must be SSL"),
        ("SASL_SSL", secured.security(password="wrong"), "does not let in user 'alice' by SCRAM"),
        ("SASL_SSL", secured.security(username="eve"), "does not let in user 'eve' by SCRAM"),
        (
            "SASL_SSL",
            secured.security(mechanism="PLAIN", password="wrong"),
            "does not let in user 'alice' by PLAIN",
        ),
        (
            "SASL_PLAINTEXT",
            replace(clear, mechanism="PLAIN"),
            "does not take .* PLAIN; it takes SCRAM-SHA-512",
        ),
        (
            "SASL_SSL",
            secured.security(ca_file=str(secured.folder / "other.pem")),
            "is not to be trusted: .*(self.signed|local issuer)",
        ),
        ("SASL_SSL", secured.security(ca_file=""), "is not to be trusted: .*those the system"),
        ("MUTUAL", tls, "wants a certificate of ours"),
    ]
    for listener, security, told in cases:
        config = secured.config(listener, security=security)
        for connect in (lag, ensure_topics, Producer):
            with pytest.raises(Refused, match=told) as refusal:
                connect(config)
            assert "s3cret" not in str(refusal.value)
            assert "wrong" not in str(refusal.value)


@pytest.mark.kafka
def test_a_certificate_of_another_host_is_refused_unless_told_not_to_look(secured):
    here = {"brokers": secured.brokers("SASL_SSL", host="127.0.0.1")}
    with pytest.raises(Refused, match=r"not to be trusted: .*127\.0\.0\.1"):
        require_reachable(secured.config(**here), wait_s=WAIT_S)
    lax = secured.security(check_hostname=False)
    require_reachable(secured.config(**here, security=lax), wait_s=WAIT_S)


def test_a_certificate_that_is_too_old_is_refused(tmp_path):
    make_authority(tmp_path, "ca")
    make_certificate(tmp_path, "old", host="localhost", is_old=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "old.pem", tmp_path / "old.key")
    with closing(socket.create_server(("localhost", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with closing(connection), pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        serving = threading.Thread(target=serve)
        serving.start()

        config = StreamsConfig(
            brokers=f"localhost:{listener.getsockname()[1]}",
            security=SecurityConfig(protocol="SSL", ca_file=str(tmp_path / "ca.pem")),
        )
        with pytest.raises(Refused, match="certificate has expired"):
            require_reachable(config, wait_s=WAIT_S)
        serving.join()


def test_nobody_there_is_unavailable_and_not_a_refusal():

    with pytest.raises(Unavailable, match=r"nothing answers at 127\.0\.0\.1:1") as fault:
        require_reachable(StreamsConfig(brokers="127.0.0.1:1"), wait_s=0.0)
    assert not isinstance(fault.value, Refused)


@pytest.mark.kafka
def test_whoever_lacks_a_right_is_told_which_on_what_until_none_is_missing(secured):
    prefix = f"bob.{new_id()}."
    config = secured.config(prefix=prefix, security=secured.security(username="bob"))

    def refusal(ask) -> str:
        with pytest.raises(Refused) as told:
            ask(config)
        found = re.search("user 'bob' lacks (.*?);", str(told.value))
        assert found, told.value
        return found.group(1)

    def grant(operation: str, kind: str) -> None:
        before = refusal_of_now()
        secured.grant("bob", operation, kind, prefix)
        wait_for(lambda: refusal_of_now() != before)

    def refusal_of_now() -> str:
        try:
            ensure_topics(config)
            require_worker_rights(config)
        except Refused as refused:
            return str(refused)
        return ""

    assert refusal(ensure_topics).startswith(f"the right Describe on topic {prefix}rluf.")
    grant("Describe", "topic")
    missing = refusal(ensure_topics)
    assert missing.startswith(f"the right Create on topic {prefix}rluf.")
    assert missing.endswith(", which does not exist")
    ensure_topics(secured.config("PLAINTEXT", prefix=prefix, security=SecurityConfig()))
    assert ensure_topics(config) == []  # Topics that exist need no right to create them.
    assert refusal(require_worker_rights).startswith("the right Read on topic")
    assert refusal(require_sender_rights).startswith("the right Write on topic")
    grant("Read", "topic")
    assert refusal(require_worker_rights).startswith("the right Write on topic")
    with Producer(config) as producer, pytest.raises(Refused, match="lacks"):
        producer.send(reaction()).result(WAIT_S)
    grant("Write", "topic")
    assert refusal(require_worker_rights) == f"the right Read on group {prefix}rluf-worker"
    assert "group" in refusal(lag)
    grant("Read", "group")
    require_worker_rights(config)
    require_sender_rights(config)
    with Producer(config) as producer:
        producer.send(reaction()).result(WAIT_S)
    assert sum(lag(config).values()) == 1
    assert PASSWORD not in repr(config)


def environment_of(config: StreamsConfig, folder: Path) -> dict[str, str]:
    """Settings of a whole rluf, its password in a file."""
    (folder / "password").write_text(f"{PASSWORD}\n")
    security = config.security
    return {
        "RLUF_STREAMS__BROKERS": config.brokers,
        "RLUF_STREAMS__PREFIX": config.prefix,
        "RLUF_STREAMS__PARTITIONS": "1",
        "RLUF_STREAMS__SECURITY__PROTOCOL": security.protocol,
        "RLUF_STREAMS__SECURITY__MECHANISM": security.mechanism,
        "RLUF_STREAMS__SECURITY__USERNAME": security.username,
        "RLUF_STREAMS__SECURITY__PASSWORD_FILE": str(folder / "password"),
        "RLUF_STREAMS__SECURITY__CA_FILE": security.ca_file,
        "RLUF_SERVING__PORT": str(_free_port()),
        "RLUF_SERVING__API_KEYS": '["key-of-the-product"]',
    }


@pytest.mark.kafka
def test_a_post_becomes_a_fact_and_is_replayed_all_over_tls_with_a_password(secured, tmp_path):
    settings = environment_of(secured.config(), tmp_path)
    home, ready = tmp_path / "home", tmp_path / "worker.ready"
    assert run("migrate", home=home, settings=settings).code == 0
    running = [
        start("worker", "--ready-file", str(ready), home=home, settings=settings),
        start("api", home=home, settings=settings),
    ]
    url = f"http://127.0.0.1:{settings['RLUF_SERVING__PORT']}"
    try:
        wait_for(ready.exists)
        wait_for(lambda: is_answered(f"{url}/healthz"))
        request = urllib.request.Request(
            f"{url}/v1/feedback",
            data=b'{"response_id": "r-1", "signal": "love", "actor_id": "u-1"}',
            headers={
                "content-type": "application/json",
                "authorization": "Bearer key-of-the-product",
            },
        )
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            assert answer.status == 202
        count = "SELECT count(*) AS n FROM reactions"

        def facts() -> int:
            told = run("features", "sql", count, "--json", home=home, settings=settings)
            return int(told.value()[0]["n"]) if told.code == 0 else 0

        wait_for(lambda: facts() == 1)
        wait_for(lambda: behind(home, settings) == 0)
    finally:
        for process in running:
            process.terminate()
        told = [process.communicate(timeout=WAIT_S) for process in running]
    again = ("replay", "--from-offsets", "beginning", "--into", str(tmp_path / "again"), "--json")
    read = run(*again, home=home, settings=settings)
    assert read.code == 0, read.err
    assert (read.value()["reactions"], read.value()["records"]) == (1, 1)
    shown = run("settings", home=home, settings=settings)
    for text in (*sum(told, ()), read.err, read.out, shown.out):
        assert PASSWORD not in text
        assert "key-of-the-product" not in text


def behind(home: Path, settings: Mapping[str, str]) -> int:
    rows = run("lag", "--json", home=home, settings=settings).value()
    return sum(row["behind"] for row in rows)


def is_answered(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.kafka
@pytest.mark.parametrize("verb", ["worker", "api", "lag"])
def test_a_process_that_the_broker_refuses_says_why_and_ends_with_exit_code_4(
    secured, tmp_path, verb
):
    wrong = secured.config(security=secured.security(username="eve"))
    settings = environment_of(wrong, tmp_path)
    outcome = run(verb, home=tmp_path / "home", settings=settings)
    assert outcome.code == 4
    assert "does not let in user 'eve' by SCRAM-SHA-512" in outcome.err
    assert PASSWORD not in outcome.err + outcome.out
