"""Finds payment cards and IBANs in texts; both carry a checksum, so little else is mistaken.

A card is 13 to 19 digits, alone or in the groups that cards are printed in, of a length that its
issuer's prefix allows (ISO/IEC 7812), with a right last digit (Luhn). An IBAN has the length of its
country, groups of four at most, and a remainder of one modulo 97 (ISO 13616). One number of ten
that begins like a card passes Luhn by chance: then privacy wins, and it is marked.
"""

import re
from collections.abc import Iterator
from typing import TypeAlias

CARD_MARK = "[card]"
IBAN_MARK = "[iban]"

Span: TypeAlias = tuple[int, int, str]
"""(first character, first character after, mark that takes their place)."""

IBAN_LENGTHS = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR HN IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
"""Characters of an IBAN, with the countries that write so many (the registry of ISO 13616)."""


def _written(countries: str, length: int) -> str:
    """The pattern of one length: divided, if at all, after every fourth character."""
    groups, rest = divmod(length - 4, 4)
    last = f"[ -]?[A-Z\\d]{{{rest}}}" if rest else ""
    return f"(?:{countries.replace(' ', '|')})\\d\\d(?:[ -]?[A-Z\\d]{{4}}){{{groups}}}{last}"


_IBAN_START = re.compile(r"[A-Za-z]{2}\d\d[ -]?[A-Za-z\d]{4}")
_IBAN = re.compile(
    r"(?<![^\W_])(?:"
    + "|".join(_written(countries, length) for length, countries in IBAN_LENGTHS.items())
    + r")(?![^\W_])",
    re.IGNORECASE | re.ASCII,
)

CARD_DIGITS_MIN = 13
CARD_DIGITS_MAX = 19
_MIGHT_BE_CARD = re.compile(r"\d(?:(?:[ .-]| - |  )?\d){12}")
_DIGITS = re.compile(r"(?<![\w.])(?<!\w-)\d+(?:(?:[ .-]| - |  )\d+)*")
_GROUP = re.compile(r"\d+")
_AFTER_CARD = re.compile(r"(?!\w|\.\d|-[^\W\d])")

_ISSUED = re.compile(
    r"""4 (?:\d{12} | \d{15} | \d{18})                              # Visa
      | (?: 5[1-5]\d\d | 222[1-9] | 22[3-9]\d | 2[3-6]\d\d | 27[01]\d | 2720) \d{12}  # Mastercard
      | 3[47] \d{13}                                                # American Express
      | 3 (?:0[0-5] | 095 | [689]\d) \d{11}                         # Diners Club
      | 36 \d{14,17}
      | 35 (?:2[89] | [3-8]\d) \d{12,15}                            # JCB
      | 220[0-4] \d{12,15}                                          # Mir
      | (?: 6[02-9] | 50 | 5[6-8] | 8[12]) \d{14,17}      # Maestro, Discover, UnionPay, RuPay
      | 9792 \d{12}                                                 # Troy
    """,
    re.VERBOSE,
)
_ISSUERS = frozenset("2345689")
"""What a card number may begin with."""
_PRINTED = re.compile(r"(?:4,){2,4}[1-4]|4,6,[45]|6,13|8,8|(?:1,){12,18}1|\d+")
"""Lengths of the groups that cards are printed in or read out by."""
_DOUBLED = str.maketrans("0123456789", "0246813579")


def ibans(text: str) -> Iterator[Span]:
    """Where IBANs stand in a text with ASCII digits."""
    if _IBAN_START.search(text):
        for match in _IBAN.finditer(text):
            if is_iban(match[0]):
                yield match.start(), match.end(), IBAN_MARK


def cards(text: str) -> Iterator[Span]:
    """Where card numbers stand in a text with ASCII digits."""
    if _MIGHT_BE_CARD.search(text):
        for match in _DIGITS.finditer(text):
            if match.end() - match.start() >= CARD_DIGITS_MIN:
                yield from _cards_among(text, match.start(), match.end())


def _cards_among(text: str, start: int, end: int) -> Iterator[Span]:
    """Every card made of whole groups; what precedes or follows it may be any other number."""
    groups = [match.span() for match in _GROUP.finditer(text, start, end)]
    first = 0
    while first < len(groups):
        last = _last_of_card(text, groups, first)
        if last >= first:
            yield groups[first][0], groups[last][1], CARD_MARK
        first = max(first, last) + 1


def _last_of_card(text: str, groups: list[tuple[int, int]], first: int) -> int:
    """The last group of the longest card that begins at a group; -1 where none does."""
    digits, lengths, divider, found = "", "", "", -1
    if text[groups[first][0]] not in _ISSUERS:
        return found
    for index in range(first, len(groups)):
        start, end = groups[index]
        if index > first:
            between = text[groups[index - 1][1] : start]
            if divider and between != divider:
                break
            divider = between
        digits += text[start:end]
        lengths += f",{end - start}" if lengths else str(end - start)
        if len(digits) > CARD_DIGITS_MAX:
            break
        if (
            len(digits) >= CARD_DIGITS_MIN
            and is_card(digits)
            and _PRINTED.fullmatch(lengths)
            and _AFTER_CARD.match(text, end)
        ):
            found = index
    return found


def is_card(digits: str) -> bool:
    """Whether ASCII digits are a card number: an issuer's prefix and length, and a right Luhn."""
    if not _ISSUED.fullmatch(digits):
        return False
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(map(int, digits[::-2])) + sum(map(int, doubled))) % 10 == 0


def is_iban(written: str) -> bool:
    """Whether letters and ASCII digits, divided or not, have the remainder that an IBAN must."""
    plain = written.replace(" ", "").replace("-", "")
    numerals = "".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])
    return int(numerals) % 97 == 1
