"""Takes e-mail addresses and phone numbers out of texts before they are stored.

A phone number is only taken for one when its shape says so: an international prefix, an area code
in parentheses, the North American 3-3-4, a leading zero with groups, or a word such as "call"
before it. Bare runs of digits stay, because order numbers look the same; so do dates, versions,
amounts, card and book numbers. What is learned from texts loses nothing by either.
"""

import re

import msgspec

from streams.events import Message, Shown

EMAIL_MARK = "[email]"
PHONE_MARK = "[phone]"

_EMAIL = re.compile(
    r"""(?<![\w.%+-]) [\w%+-][\w.%+-]*  # From the start of a word, so that a long one costs once.
        @ (?:[\w-]+\.)+ [^\W\d_]{2,}""",
    re.VERBOSE,
)

_MIGHT_BE_PHONE = re.compile(r"(?:\d\D{0,3}){6}\d")
"""Seven digits not far apart; all shapes below have them."""

# Groups of digits are divided by spaces, dots, slashes and the dashes that keyboards and phones
# write. Nothing that is a part of a longer number, word, path or price may match.
_DIVIDE = r"[\s./\u2010\u2011\u2013-]"
_BEFORE = rf"(?<![\w+#$€£%@=&:.,/-])(?<!\d{_DIVIDE})"
_AFTER = r"(?!\w|[./\u2010\u2011\u2013-]\w|[%€£$])"

_PHONE = re.compile(
    rf"""{_BEFORE} (?:
          \+ [1-9] (?:[\s()./\u2010\u2011\u2013-]{{0,3}}\d){{7,14}}      # +44 20 7946 0958
        | 00 {_DIVIDE}? [1-9] \d{{0,2}} (?:{_DIVIDE}\(?\d{{1,5}}\)?){{2,6}}  # 0044 20 7946 0958
        | (?:1{_DIVIDE})? \( \d{{2,5}} \) {_DIVIDE}? \d{{3,4}} {_DIVIDE}? \d{{3,4}}
                                                                         # (555) 010-9999
        | (?:1(?P<first>{_DIVIDE}))? \d{{3}} (?P<same>{_DIVIDE}) \d{{3}} (?P=same) \d{{4}}
                                                                         # 555-010-9999
        | 0\d{{1,4}} {_DIVIDE} \d{{2,8}} (?:{_DIVIDE}\d{{2,4}}){{0,4}}    # 020 7946 0958
        ) {_AFTER}""",
    re.VERBOSE,
)

_CALLED = re.compile(
    rf"""\b (?P<cue> (?:tel|telephone|phone|mobile|cell|call|ring|text|sms|fax|whatsapp|signal)
         (?:\s*(?:number|no|nr|me|us|him|her|them|my|is|at|on|[.:=\#-]))* \s* )
        (?P<number> \(?\d (?:[\s()./\u2010\u2011\u2013-]{{0,2}}\d){{6,14}}) {_AFTER}""",
    re.VERBOSE | re.IGNORECASE,
)

_DATE = re.compile(
    r"\b(?:(?:19|20)\d\d([-./ ])\d{1,2}\1\d{1,2}|\d{1,2}([-./ ])\d{1,2}\2(?:19|20)\d\d)\b"
)
NATIONAL_DIGITS_MIN = 9
"""Fewest digits of a number with a leading zero; dates such as 01.02.2024 have eight."""
DIGITS_MAX = 15
"""Most digits of a phone number (ITU-T E.164), two more with the prefix 00."""


def redact(text: str) -> str:
    """The text with `[email]` and `[phone]` where those stood."""
    if "@" in text:
        text = _EMAIL.sub(EMAIL_MARK, text)
    if _MIGHT_BE_PHONE.search(text):
        text = _PHONE.sub(_phone_or_kept, text)
        text = _CALLED.sub(_called_or_kept, text)
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


def _called_or_kept(match: re.Match[str]) -> str:
    return match[0] if _DATE.search(match["number"]) else match["cue"] + PHONE_MARK


def _phone_or_kept(match: re.Match[str]) -> str:
    """The mark, unless the digits turn out to be a date or too few or many."""
    found = match[0]
    num_digits = sum(map(str.isdigit, found))
    is_national = found.startswith("0") and not found.startswith("00")
    if (
        _DATE.search(found)
        or (is_national and num_digits < NATIONAL_DIGITS_MIN)
        or num_digits > DIGITS_MAX + (2 if found.startswith("00") else 0)
    ):
        return found
    return PHONE_MARK
