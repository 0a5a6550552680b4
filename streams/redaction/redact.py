"""Takes e-mail addresses, phone, card and bank account numbers out of texts before they are stored.

Why by hand and not by a library: docs/decisions/0004-redaction.md. A phone number has no checksum;
it is only taken for one when its shape says so: an international prefix, an area code in
parentheses, the North American 3-3-4, a leading zero with groups, or a word such as "call" before
it. Bare runs of digits stay, because order numbers look the same; so do dates, versions, amounts
and book numbers. What is learned from texts loses nothing by either.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from streams.events import Message, Shown
from streams.redaction.numbers import Span, cards, ibans

EMAIL_MARK = "[email]"
PHONE_MARK = "[phone]"

_EMAIL = re.compile(
    r"""(?: (?<![\w.%+-]) [\w%+-][\w.%+-]* (?:'[\w.%+-]+){0,2}  # From the start of a word, so that
          | (?<![\w"\]]) "[^"\s@]{1,64}"                         # a long one costs once.
        ) (?:@|%40)
        (?: (?!\d+x\.) (?:[\w-]+\.)+ (?:xn--[\w-]+ | [^\W\d_]{2,}\w*)  # Not icon@2x.png
          | \[ (?:\d{1,3}\.){3} \d{1,3} \] )""",
    re.VERBOSE,
)

_MIGHT_BE_PHONE = re.compile(r"(?:\d\D{0,3}){6}\d", re.ASCII)
"""Seven digits not far apart; all shapes below have them."""

# Groups of digits are divided by spaces, dots, slashes and dashes. Nothing that is a part of a
# longer number, word, path or price may match.
_DIVIDE = r"[\s./-]"
_AFTER = r"(?!\w|[./-]\w|:\d|,\d{3}|[%€£$])"

_PHONE_START = re.compile(
    r"(?<![\w+#$€£%@&./\]-])(?: \+(?=[1-9]) | (?<![:=,])[(\d] )", re.VERBOSE | re.ASCII
)
_PHONE = re.compile(
    rf"""(?:
          \+ [17] (?:[\s()./-]{{0,3}}\d){{10}}                    # +1 (555) 010-9999
        | \+ [2-689] (?:[\s()./-]{{0,3}}\d){{7,14}}               # +44 20 7946 0958
        | 00 {_DIVIDE}? [1-9] \d{{0,2}} (?:{_DIVIDE}\(?\d{{1,5}}\)?){{2,6}}  # 0044 20 7946 0958
        | (?:[18]{_DIVIDE})? \( \d{{2,5}} \) {_DIVIDE}? \d{{3,5}} {_DIVIDE}? \d{{2,4}}
              (?:{_DIVIDE}\d\d)?                                  # (555) 010-9999
        | (?:1(?P<first>{_DIVIDE}))? \d{{3}} (?P<same>{_DIVIDE}) \d{{3}} (?P=same) \d{{4}}
                                                                  # 555-010-9999
        | 1[3-9]\d (?P<asia>[ -]) \d{{4}} (?P=asia) \d{{4}}       # 138 0013 8000
        | 8 (?P<ru>[ -]) \d{{3}} (?P=ru) \d{{3}} [ -] \d\d [ -] \d\d  # 8-800-555-35-35
        | 0\d{{1,4}} {_DIVIDE} \d{{2,8}} (?:{_DIVIDE}\d{{2,4}}){{0,4}}    # 020 7946 0958
        | \(0\d{{1,4}}\) {_DIVIDE}? \d{{3,8}} (?:{_DIVIDE}\d{{2,4}}){{0,3}}  # (030) 23125 123
        ) {_AFTER}""",
    re.VERBOSE | re.ASCII,
)

_CALLED = re.compile(rf"\(?\d (?:[\s()./-]{{0,2}}\d){{6,14}} {_AFTER}", re.VERBOSE | re.ASCII)
_CUE = re.compile(
    r"""\b (?: tel|telephone|phone|mobile|cell|call|ring|text|sms|fax|whatsapp|signal|wa\.me
              | telefon\w{0,8}|telefone|teléfono|téléphone|tél|handy\w{0,8}|móvil|celular
              | cellulare|portable|mobil|тел|телефон|電話|电话|手机 )
         (?:\s{0,3}(?:number|no|nr|me|us|him|her|them|my|is|at|on|ist|es|est|[.:=\#/-]))*
         \s{0,3} (?P<sign> (?:\+|\(\+)?) $""",
    re.VERBOSE | re.IGNORECASE,
)
CUE_CHARACTERS = 48
"""How far before a number the word may begin that says it is one."""

_DATE = re.compile(
    r"\b(?:(?:19|20)\d\d([-./ ])\d{1,2}\1\d{1,2}|\d{1,2}([-./ ])\d{1,2}\2(?:19|20)\d\d)\b"
)
_PLAN = re.compile(
    r"1[2-9]|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|2[1-69]\d|3[578]\d|42\d|50\d|59\d|6[7-9]\d|8[0578]\d|9[679]\d"
)
"""What an international number may begin with (ITU-T E.164, assigned codes)."""
NATIONAL_DIGITS_MIN = 9
"""Fewest digits of a number with a leading zero; dates such as 01.02.2024 have eight."""
DIGITS_MAX = 15
"""Most digits of a phone number (ITU-T E.164), two more with the prefix 00."""


_ZEROS = (
    "\u0660\u06f0\u07c0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0de6\u0e50\u0ed0\u0f20"
    "\u1040\u1090\u17e0\u1810\u1946\u19d0\u1a80\u1a90\u1b50\u1bb0\u1c40\u1c50\ua620\ua8d0\ua900\ua9d0"
    "\ua9f0\uaa50\uabf0\U0001d7ce\U0001d7d8\U0001d7e2\U0001d7ec\U0001d7f6\U0001fbf0"
)
"""The zeros of scripts that people write today and of mathematics; one to nine follow each."""


def _as_ascii() -> dict[int, str]:
    """Digits of all scripts, full-width signs, and every width of space and dash, as ASCII.

    Each gives one character, so that places in a text stay what they are. What directs or joins
    and is not seen counts as a space.
    """
    table = {ord(zero) + value: str(value) for zero in _ZEROS for value in range(10)}
    table |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    table |= dict.fromkeys((0xA0, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B)), " ")
    table |= dict.fromkeys((0x200B, 0x2060, 0xFEFF, *range(0x200E, 0x2010)), " ")
    table |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), " ")
    table |= dict.fromkeys((0xAD, 0x2212, *range(0x2010, 0x2016)), "-")
    return table


_AS_ASCII = _as_ascii()
_NOT_ASCII = re.compile("[" + "".join(map(re.escape, map(chr, sorted(_AS_ASCII)))) + "]")


def redact(text: str) -> str:
    """The text with `[email]`, `[iban]`, `[card]` and `[phone]` where those stood.

    Never raises, takes time in proportion to the length, and changes nothing the second time.
    """
    plain = text
    if not text.isascii() and _NOT_ASCII.search(text):
        plain = text.translate(_AS_ASCII)
    if "@" in plain or "%40" in plain:
        text, plain = _marked(text, plain, _emails(plain))
    if _MIGHT_BE_PHONE.search(plain):
        text, plain = _marked(text, plain, ibans(plain))
        text, plain = _marked(text, plain, cards(plain))
        text, plain = _marked(text, plain, _phones(plain))
        text, plain = _marked(text, plain, _called(plain))
    return text


def redact_shown(event: Shown) -> Shown:
    """The same exposure with its response and its messages redacted."""
    response = redact(event.response)
    contents = [redact(message.content) for message in event.messages]
    if response == event.response and all(
        content == message.content
        for content, message in zip(contents, event.messages, strict=True)
    ):
        return event
    messages = tuple(
        Message(role=message.role, content=content)
        for content, message in zip(contents, event.messages, strict=True)
    )
    return msgspec.structs.replace(event, response=response, messages=messages)


def _marked(text: str, plain: str, spans: Iterable[Span]) -> tuple[str, str]:
    """The text and its ASCII form, both with marks for the spans, which come in order."""
    found = list(spans)
    if not found:
        return text, plain
    marked = _spliced(plain, found)
    return (marked if text is plain else _spliced(text, found)), marked


def _spliced(text: str, spans: list[Span]) -> str:
    parts: list[str] = []
    at = 0
    for start, end, mark in spans:
        parts += (text[at:start], mark)
        at = end
    return "".join((*parts, text[at:]))


def _emails(text: str) -> Iterator[Span]:
    return ((*match.span(), EMAIL_MARK) for match in _EMAIL.finditer(text))


def _phones(text: str) -> Iterator[Span]:
    """Numbers whose shape says so; a number may follow another one, but no other digits.

    Nothing begins right after a bracket: there a mark may have come to stand for digits.
    """
    at = 0
    for start in _PHONE_START.finditer(text):
        begin = start.start()
        if begin < at:
            continue
        is_inside = begin - 2 >= at and text[begin - 1] in " ./-\t\n" and text[begin - 2].isdigit()
        if is_inside and text[begin] != "+":
            continue
        match = _PHONE.match(text, begin)
        if match and _is_phone(match[0]):
            at = match.end()
            yield begin, at, PHONE_MARK


def _called(text: str) -> Iterator[Span]:
    """Numbers of any shape after a word that says what they are."""
    for match in _CALLED.finditer(text):
        start, end = match.span()
        if start == 0 or _DATE.search(match[0]):
            continue
        cue = _CUE.search(text[max(0, start - CUE_CHARACTERS) : start])
        if cue:
            yield start - len(cue["sign"]), end, PHONE_MARK


def _is_phone(found: str) -> bool:
    """Whether the digits are neither a date nor too few nor too many, nor of no country."""
    digits = "".join(filter(str.isdigit, found))
    if found.startswith(("+", "00")):
        international = digits.removeprefix("00")
        return len(international) <= DIGITS_MAX and bool(_PLAN.match(international))
    is_short = digits.startswith("0") and len(digits) < NATIONAL_DIGITS_MIN
    return not is_short and len(digits) <= DIGITS_MAX and not _DATE.search(found)
