"""Goal: e-mail addresses and phone numbers never reach the store, and other numbers do.

Method: a table of hard cases each way; numbers are from ranges reserved for fiction. Many more
cases are in test_redaction_cases.py.
"""

from datetime import UTC, datetime

import pytest

from streams.events import Message, Shown
from streams.redaction.redact import redact, redact_shown

REDACTED = {
    "mail me at ada.lovelace+ml@example.co.uk.": "mail me at [email].",
    "<bob@example.com>, (carol_x@mail.example.org)": "<[email]>, ([email])",
    "jürgen@beispiel.example": "[email]",
    "mailto:dan%40x@example.com?subject=hi": "mailto:[email]?subject=hi",
    "a@example.com b@example.com": "[email] [email]",
    "+44 20 7946 0958": "[phone]",
    "ring +442079460958 now": "ring [phone] now",
    "(555) 010-9999": "[phone]",
    "My number is (555)010-9999.": "My number is [phone].",
    "+1 (555) 010-9999 ext. 3": "[phone] ext. 3",
    "1-800-555-0199": "[phone]",
    "555-010-9999, or 555.010.9999": "[phone], or [phone]",
    "555 010 9999": "[phone]",
    "+1.555.010.9999": "[phone]",
    "0044 20 7946 0958": "[phone]",
    "020 7946 0958": "[phone]",
    "tel.: 030/23125 123": "tel.: [phone]",
    "06 12 34 56 78": "[phone]",
    "+33 6 12 34 56 78 / +33 1 99 00 12 34": "[phone] / [phone]",
    "+49 (0)30 23125 000": "[phone]",
    "+61 491 570 006": "[phone]",
    "+91-99999-00000": "[phone]",
    "call 5550109999": "call [phone]",
    "call 555-010-9999 2 times": "call [phone] 2 times",
    "Call me at 5550109999!": "Call me at [phone]!",
    "Phone number: 555-0109": "Phone number: [phone]",
    "whatsapp 07700 900123": "whatsapp [phone]",
    "020\u00a07946\u00a00958": "[phone]",
    "555\u2011010\u20119999": "[phone]",
    "x@example.com or +44 20 7946 0958": "[email] or [phone]",
}

KEPT = (
    "",
    "no digits, no sign",
    "on 2026-11-24 at 10:15:30",
    "2026-11-24T10:15:30.123+01:00",
    "24.11.2026 10:15",
    "01.02.2024 10:15",
    "01-02-2024",
    "11/24/2026",
    "between 2010-2015 and 1999-2005",
    "20241124",
    "GMT +1 2024-11-24",
    "call on 2024-11-24",
    "version 10.20.30, v1.2.3.4567",
    "react@18.2.0 and chat@12",
    "@ada said so",
    "git@localhost",
    "192.168.100.200:8080",
    "1,234,567 people",
    "1 000 000 000",
    "12.345.678,90",
    "$5,550,109,999",
    "order 1234567890",
    "order #555-010-9999",
    "order ORD-555-010-9999-7",
    "ticket 00012345678",
    "ISBN 978-3-16-148410-0",
    "4111 1111 1111 1112",
    "DE89 3704 0044 0532 0130 01",
    "0192e3f0-1111-7abc-8def-012345678901",
    "3.14159265358979",
    "0.123 456 789",
    "51.5074, -0.1278",
    "10:00-18:00",
    "12345-6789",
    "555-0109",
    "I bought the phone for 5550109999 reasons",
    "see https://example.com/item/555-010-9999",
    "id=5550109999&x=1",
)


@pytest.mark.parametrize(("text", "expected"), REDACTED.items())
def test_addresses_and_numbers_are_marked(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize("text", KEPT)
def test_other_texts_stay_as_they_are(text):
    assert redact(text) == text


@pytest.mark.parametrize("text", REDACTED)
def test_redacting_twice_changes_nothing_more(text):
    assert redact(redact(text)) == redact(text)


def test_both_sides_of_a_conversation_are_redacted_and_nothing_else_changes():
    at = datetime(2026, 11, 24, tzinfo=UTC)
    shown = Shown(
        id="1",
        source="/t",
        response_id="ada@example.com",
        conversation_id="c",
        user_id="+44 20 7946 0958",
        messages=(Message(role="user", content="I am ada@example.com"),),
        response="Call 555-010-9999",
        policy="chat@12",
        occurred_at=at,
        known_at=at,
    )
    redacted = redact_shown(shown)
    assert redacted.messages == (Message(role="user", content="I am [email]"),)
    assert redacted.response == "Call [phone]"
    assert redacted.response_id == shown.response_id, "ids are keys, made opaque by who makes them"
    assert redacted.user_id == shown.user_id
    assert redact_shown(redacted) is redacted
