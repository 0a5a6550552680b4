"""Goal: every hard case is redacted as it should be, and no hostile text breaks the rules.

Method: the cases of redaction_cases.py with their expected texts; random texts made of pieces that
the patterns look for; a megabyte of each piece that could make a pattern go back and forth.
"""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.redaction.numbers import IBAN_LENGTHS, is_card, is_iban
from streams.redaction.redact import redact
from tests.properties import examples
from tests.streams.redaction.cases import CASES, MARKS, card, grouped, iban

POSITIVES = [case for case in CASES if case.kind]
NEGATIVES = [case for case in CASES if not case.kind]

PIECES = (
    *("0", "1", "4", "00", "55", "010", "555", "9999", "4111", "1111", "20261124", "+", "+1"),
    *("+44", "(", ")", " ", "  ", "-", " - ", ".", "/", ",", ":", "@", "%40", "#", "$", "'", '"'),
    *("a", "call ", "tel:", "is ", "example.com", "ada", "x@y.zz", "DE", "DE89", "GB29", "NO"),
    *(*MARKS.values(), "[", "]", "\n", "\u00a0", "\u2011", "\u200b", "０", "＠", "＋", "٤", "é"),
    *("+44 20 7946 0958", "555-010-9999", "020 7946 0958", "(555) 010-9999", card("4", 16)),
    *(grouped(card("37", 15), (4, 6, 5)), iban("DE", "370400440739182645")),
)
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=24).map("".join), st.text())
MEGABYTE = 1_000_000
HOSTILE = (
    *(
        "+",
        "0 0 0 ",
        "@@@",
        "@",
        "0",
        "1",
        "4",
        "4 ",
        "4-",
        "4.",
        "1 ",
        "+1",
        "+1 ",
        "(",
        "0(",
        "('",
    ),
    *(
        "a",
        "a.",
        "a@",
        "a@b.",
        "a@b-",
        "a'",
        "'",
        '"',
        '"a',
        "%40",
        "a%40",
        "call ",
        "tel:",
        "tel is ",
    ),
    *(
        "call 1",
        "DE89",
        "DE89 ",
        "DE89-3704 ",
        "a1",
        "no12",
        "00 ",
        "00 1 ",
        "\u0664",
        "\uff20",
        " ",
    ),
    *(
        "4111 1111 1111 111",
        "4111 ",
        "555-010-9999 ",
        "555 010 ",
        "+44 20 7946 0958 ",
        "(02) ",
        "8 ",
    ),
    *(
        "[phone] ",
        "x@y.zz",
        "\u00a0",
        "2024-",
        "01.02.",
        "1/",
        "0/0",
        "5 - ",
        "\n",
        "\t1",
        "-",
        ":1",
    ),
)


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: ascii(case.text))
def test_a_secret_is_marked_and_nothing_round_it(case):
    assert redact(case.text) == case.expected


@pytest.mark.parametrize("case", NEGATIVES, ids=lambda case: ascii(case.text))
def test_what_only_looks_like_a_secret_stays(case):
    assert redact(case.text) == case.text


def test_the_cases_are_many_of_every_kind():
    for kind in MARKS:
        assert sum(case.kind == kind for case in CASES) >= 30
    assert len(NEGATIVES) >= 100


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: ascii(case.text))
def test_a_case_redacted_twice_is_as_redacted_once(case):
    assert redact(case.expected) == case.expected


@settings(max_examples=examples(2_000))
@given(TEXTS)
def test_redacting_is_idempotent_and_never_raises(text):
    once = redact(text)
    assert redact(once) == once


@settings(max_examples=examples(500))
@given(TEXTS)
def test_all_that_is_not_marked_stays_in_its_order(text):
    """Between the marks stand pieces of the text, in their order, each after the one before."""
    at = 0
    for piece in re.split("|".join(map(re.escape, MARKS.values())), redact(text)):
        found = text.find(piece, at)
        assert found >= 0
        at = found + len(piece)


@settings(max_examples=examples(300))
@given(st.integers(min_value=10**13, max_value=10**14 - 1), st.integers(0, 9))
def test_of_the_ten_last_digits_one_makes_a_card(body, last):
    digits = "4" + str(body)
    assert sum(is_card(f"{digits}{sign}") for sign in range(10)) == 1
    assert is_card(card(digits, 16))
    wrong = digits + str((int(card(digits, 16)[-1]) + 1 + last % 9) % 10)
    assert not is_card(wrong)


@settings(max_examples=examples(300))
@given(st.from_regex(r"[0-9]{18}", fullmatch=True), st.integers(4, 21), st.integers(1, 9))
def test_one_wrong_digit_makes_an_iban_none(account, place, more):
    right = iban("DE", account)
    wrong = right[:place] + str((int(right[place]) + more) % 10) + right[place + 1 :]
    assert is_iban(right)
    assert not is_iban(wrong)


def test_a_country_has_one_length():
    countries = " ".join(IBAN_LENGTHS.values()).split()
    assert len(countries) == len(set(countries))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{card('4', 16)} {card('51', 16)}", "[card] [card]"),
        (
            f"{grouped(card('4', 16), (4,) * 4)} {grouped(card('51', 16), (4,) * 4)}",
            "[card] [card]",
        ),
        (f"2 {card('4', 16)} 12/27 123", "2 [card] 12/27 123"),
        (f"2x {grouped(card('4', 16), (4,) * 4)} 12/27 123", "2x [card] 12/27 123"),
        (f"ada@example.com,{card('4', 16)},123", "[email],[card],123"),
        (f"IBAN:{iban('DE', '370400440739182645')}.", "IBAN:[iban]."),
        ("+44 20 7946 0958, ada@example.com", "[phone], [email]"),
        ("555-010-9999 555-010-9998 555-010-9997", "[phone] [phone] [phone]"),
        ("\u202a+44 20 7946 0958\u202c", "\u202a[phone]\u202c"),
        ("２０２６年 +44 20 7946 0958 ＯＫ", "２０２６年 [phone] ＯＫ"),
    ],
)
def test_several_secrets_and_their_neighbours_are_told_apart(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize("piece", HOSTILE, ids=ascii)
def test_hostile_text_ends_within_the_limit_of_a_test(piece):
    """Were a pattern quadratic, a fifth of a megabyte would take an hour and not a second."""
    text = piece * (MEGABYTE // 5 // len(piece))
    redact(text)
    ended = redact(text[: MEGABYTE // 20] + " ada@example.com")
    assert ended.endswith("[email]")


@pytest.mark.parametrize("piece", ["+", "0 0 0", "@@@", "0123456789", "4 "])
def test_a_megabyte_of_hostile_text_ends_within_the_limit_of_a_test(piece):
    assert redact(piece * (MEGABYTE // len(piece)) + " ada@example.com").endswith("[email]")
