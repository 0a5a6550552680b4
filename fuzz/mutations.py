"""Hostile records: valid events, bent in ways that Kafka would carry all the same.

Everything here is synthetic and comes from one seed. A mutation works on bytes and knows where the
structure of an event is brittle: tags, times, ids, repeated keys, nesting, headers, record times.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from streams.codec import encode
from streams.events import Erasure, GuardRuling, Message, Reaction, Shown
from streams.kafka_binding import STRUCTURED_HEADER
from streams.pipeline import Record
from streams.wire import ERASURE_TYPE, REACTION_TYPE, SHOWN_TYPE, VERDICT_TYPE

KNOWN_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KNOWN_AT_MS = int(KNOWN_AT.timestamp() * 1000)
PARTITIONS = 3
NUM_IDS = 50_000
"""Ids are drawn from so many, so that duplicates happen by themselves."""
TIMES_MS = (
    -(2**63),
    -1,
    0,
    1,
    KNOWN_AT_MS + 1,
    253_402_300_799_999,
    253_402_300_800_000,
    2**63 - 1,
)
"""Record times at the edges of what a clock, or Python's calendar, can show."""

TOKENS: tuple[bytes, ...] = (
    *(b"null", b"true", b"[]", b"{}", b'""', b"0", b"-0", b"-1", b"1e999", b"-1e-999", b"NaN"),
    *(b"9" * 400, b"1" + b"0" * 30, b"2147483648", b"9223372036854775808", b"0.1e1", b"01", b".5"),
    *(b'" "', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\x"'),
    *(
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b'"\xf4\x90\x80\x80"',
        b'"\xe2\x80\xae"',
        b"\x00",
    ),
    *(
        b'"' + b"x" * 513 + b'"',
        b'"' + b"\xf0\x9f\x98\x80" * 200 + b'"',
        b"[" * 900,
        b'{"a":' * 900,
    ),
    *(b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-23:59"', b'"2026-01-02T03:04:05"'),
    *(b'"2026-01-02T03:04:05.123456789Z"', b'"2026-02-30T00:00:00Z"', b'"2016-12-31T23:59:60Z"'),
    *(b'"rluf.reaction.v2"', b'"rluf.response.shown.v1"', b'"2.0"', b'"quarantine"', b'"add"'),
    *(b'"\xe2\x9d\xa4"', b'"\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd"', b'"LOVE"', b'"love\\n"', b'"+1"'),
    *(b'"call ' + b"1 " * 40 + b'"', b'"' + b"a." * 60 + b'@b"', b'"a@' + b"b." * 60 + b'"'),
    *(b'"call me at' + b" is at" * 40 + b' 5550109999x"', b'"+44 20 7946 0958 or a@b.example"'),
)
"""Values that parsers, calendars, encoders and our own rules find hard."""

FIELDS: tuple[bytes, ...] = (
    *(b"id", b"source", b"time", b"specversion", b"type", b"data", b"subject", b"partitionkey"),
    *(b"response_id", b"user_id", b"signal", b"action", b"messages", b"response", b"turn"),
    *(
        b"propensity",
        b"logprob",
        b"policy",
        b"learnable",
        b"client_id",
        b"role",
        b"content",
        b"network",
    ),
    *(b"since", b"rule", b"rule_version", b"evidence", b"mood", b"", b"data\\u0061"),
)
TYPES = tuple(name.encode() for name in (SHOWN_TYPE, REACTION_TYPE, ERASURE_TYPE, VERDICT_TYPE))
ID_MARK = b"ID-MARK"


def seeds() -> tuple[bytes, ...]:
    """One valid event of each kind, encoded, with ID_MARK where its id stands."""
    name = ID_MARK.decode()
    common = {"id": name, "source": "/fuzz", "occurred_at": KNOWN_AT, "known_at": KNOWN_AT}
    shown = Shown(
        response_id="response-1",
        conversation_id="c-1",
        user_id="u-1",
        turn=1,
        messages=(
            Message(role="user", content="How do I descale a kettle?"),
            Message(role="assistant", content="Mail me: ada@example.com, call 555-010-9999"),
        ),
        response="Fill it with vinegar \u2764 and wait.",
        policy="chat@1",
        propensity=0.05,
        logprob=-3.5,
        **common,  # type: ignore[arg-type]
    )
    reaction = Reaction(
        response_id="response-1",
        user_id="u-1",
        signal="love",
        action="add",
        **common,  # type: ignore[arg-type]
    )
    verdict = GuardRuling(
        user_id="u-1",
        action="quarantine",
        rule="person",
        rule_version=1,
        since=KNOWN_AT,
        **common,  # type: ignore[arg-type]
    )
    erasure = Erasure(user_id="u-1", **common)  # type: ignore[arg-type]
    return tuple(encode(event) for event in (shown, reaction, reaction, erasure, verdict))


class Mutator:
    """An endless source of records; two with one seed give the same."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._seeds = seeds()
        self._offset = 0
        self._bends: tuple[Callable[[bytes], bytes | None], ...] = (
            *(self._flip, self._cut, self._insert, self._remove, self._splice),
            *(self._set_value, self._set_value, self._add_field, self._add_field),
            *(self._repeat_type, self._noise, self._nothing, self._swap_number),
        )

    def records(self, count: int) -> list[Record]:
        """The next `count` records; each partition's stand together, as a fetch brings them."""
        partition = self._random.randrange(PARTITIONS)
        switch_at = self._random.randrange(count + 1)
        found = []
        for number in range(count):
            if number == switch_at:
                partition = self._random.randrange(PARTITIONS)
            found.append(self._record(partition))
        return found

    def _record(self, partition: int) -> Record:
        random = self._random
        value = self.valid()
        dice = random.random()
        bent: bytes | None = value
        headers: list[tuple[str, bytes | None]] = [STRUCTURED_HEADER]
        timestamp_ms = KNOWN_AT_MS
        if dice < 0.75:
            bent = random.choice(self._bends)(value)
            if bent and random.random() < 0.2:
                bent = random.choice(self._bends)(bent)
        elif dice < 0.85:
            headers = self._headers()
            bent = b'{"response_id":"r","user_id":"u","signal":"love","action":"add"}'
            if random.random() < 0.5:
                bent = random.choice(self._bends)(bent)
        elif dice < 0.88:
            timestamp_ms = random.choice(TIMES_MS)
        self._offset += 1
        key = None if dice < 0.1 else b"\xfe%d" % partition
        return Record("fuzz", partition, self._offset, timestamp_ms, key, bent, tuple(headers))

    def valid(self) -> bytes:
        """A valid event with an id of its own, or of one before it."""
        number = self._random.randrange(NUM_IDS)
        return self._random.choice(self._seeds).replace(ID_MARK, b"%d" % number)

    def _place(self, value: bytes) -> int:
        return self._random.randrange(len(value) + 1)

    def _flip(self, value: bytes) -> bytes:
        bent = bytearray(value or b"\0")
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            bent[self._random.randrange(len(bent))] ^= 1 << self._random.randrange(8)
        return bytes(bent)

    def _cut(self, value: bytes) -> bytes:
        return value[: self._place(value)]

    def _insert(self, value: bytes) -> bytes:
        at = self._place(value)
        return value[:at] + self._random.randbytes(self._random.choice((1, 2, 4, 16))) + value[at:]

    def _remove(self, value: bytes) -> bytes:
        at = self._place(value)
        return value[:at] + value[at + self._random.choice((1, 2, 8, 40)) :]

    def _splice(self, value: bytes) -> bytes:
        other = self.valid()
        return value[: self._place(value)] + other[self._place(other) :]

    def _set_value(self, value: bytes) -> bytes:
        """Put another value after a key."""
        at = value.find(b":", self._place(value))
        if at < 0:
            return self._random.choice(TOKENS)
        end = min((e for e in (value.find(b",", at), value.find(b"}", at)) if e > 0), default=at)
        return value[: at + 1] + self._random.choice(TOKENS) + value[end:]

    def _add_field(self, value: bytes) -> bytes:
        """Add a field, known or not, perhaps once more, to some object."""
        at = value.find(b"{", self._place(value)) if self._random.random() < 0.5 else 0
        field = b'"%b":%b,' % (self._random.choice(FIELDS), self._random.choice(TOKENS))
        return value[: at + 1] + field + value[at + 1 :]

    def _repeat_type(self, value: bytes) -> bytes:
        """Name the type twice, or behind the data."""
        name = self._random.choice((*TYPES, b"x", b""))
        field = b'"type":"%b"' % name
        if self._random.random() < 0.5:
            return b"{" + field + b"," + value[1:]
        extra = b',"mood":1' if self._random.random() < 0.5 else b""
        return value[:-1] + b"," + field + extra + b"}"

    def _noise(self, value: bytes) -> bytes:
        return self._random.randbytes(self._random.choice((1, 3, 20, 200)))

    def _nothing(self, value: bytes) -> bytes | None:
        return self._random.choice((None, b"", b" ", b"{}", b"[]", b"null", value + b" " * 5_000))

    def _swap_number(self, value: bytes) -> bytes:
        digit = b"%d" % self._random.randrange(10)
        return value.replace(digit, self._random.choice((b"", b"-", b"99999", b"e", b".")), 2)

    def _headers(self) -> list[tuple[str, bytes | None]]:
        """Binary mode, whole or with a fault."""
        random = self._random
        headers: list[tuple[str, bytes | None]] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"%d" % random.randrange(NUM_IDS)),
            ("ce_source", b"/fuzz"),
            ("ce_type", random.choice(TYPES)),
            ("ce_time", b"2026-01-02T03:04:05Z"),
        ]
        random.shuffle(headers)
        fault = random.randrange(6)
        at = random.randrange(len(headers))
        if fault == 0:
            del headers[at]
        elif fault == 1:
            headers.append(headers[at])
        elif fault == 2:
            headers[at] = (headers[at][0].upper(), random.choice(TOKENS).strip(b'"'))
        elif fault == 3:
            headers[at] = (headers[at][0], random.choice((None, b"", b"\xff", random.randbytes(9))))
        elif fault == 4:
            headers.append((random.choice(("ce_data", "ce_", "ce_mood", "content-type", "")), b"x"))
        return headers
