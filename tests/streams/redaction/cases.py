"""Hard cases of redaction, all synthetic: forms of each kind in contexts, and what looks alike.

Card numbers and IBANs are made here with right checksums from made-up accounts; phone numbers are
of ranges kept for fiction where a country has one, else plainly made up.
"""

from dataclasses import dataclass
from itertools import cycle

KINDS = ("email", "phone", "card", "iban")
MARKS = {kind: f"[{kind}]" for kind in KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One text with at most one secret."""

    text: str
    kind: str = ""
    """What the secret is; empty where nothing may be marked."""
    start: int = 0
    """Where the secret begins, in characters."""
    end: int = 0
    """The first character after it."""

    @property
    def expected(self) -> str:
        """The text as it should be stored."""
        if not self.kind:
            return self.text
        return self.text[: self.start] + MARKS[self.kind] + self.text[self.end :]


def card(prefix: str, length: int) -> str:
    """A made-up card number: the prefix, digits counted up, and the digit that Luhn asks for."""
    body = (prefix + "0739182645073918264")[: length - 1]
    total = 0
    for place, sign in enumerate(reversed(body)):
        value = int(sign) * (1 if place % 2 else 2)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def iban(country: str, account: str) -> str:
    """A made-up account's IBAN with its check digits."""
    signs = (account + country + "00").upper()
    rest = int("".join(str(int(sign, 36)) for sign in signs)) % 97
    return f"{country}{98 - rest:02d}{account}"


def grouped(plain: str, sizes: tuple[int, ...], divider: str = " ") -> str:
    """A number in groups of these sizes, the last taking what remains."""
    groups, at = [], 0
    for size in sizes:
        groups.append(plain[at : at + size])
        at += size
    return divider.join(group for group in (*groups, plain[at:]) if group)


FOURS = (4,) * 9

EMAILS = (
    "ada@example.com",
    "ada.lovelace@example.co.uk",
    "ada+lists@example.org",
    "ADA_L@EXAMPLE.COM",
    "a@example.io",
    "ada-l@mail.sub.example.museum",
    "o'hara@example.ie",
    "jürgen@beispiel.example",
    "анна@пример.example",
    "用户@例子.example",
    "ada@example.xn--p1ai",
    "1234567@example.com",
    "ada%40example.com",
    '"ada.l"@example.com',
    "ada@[192.0.2.1]",
    "ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ",
    "555-010-9999@sms.example.com",
    "x_y.z%q@ex-ample.net",
)

PHONES = (
    "+1 (555) 010-9999",
    "+1-555-010-9999",
    "+15550109999",
    "(555) 010-9999",
    "555-010-9999",
    "555.010.9999",
    "1-800-555-0199",
    "+44 20 7946 0958",
    "+44 (0)20 7946 0958",
    "+442079460958",
    "020 7946 0958",
    "07700 900123",
    "0044 20 7946 0958",
    "+49 30 23125 000",
    "+49 (0)30 23125-000",
    "030/23125 123",
    "0171 39200 12",
    "+33 6 39 98 12 34",
    "06 39 98 12 34",
    "06.39.98.12.34",
    "06-39-98-12-34",
    "+34 612 345 678",
    "+39 06 1234 5678",
    "+31 6 12345678",
    "06-12345678",
    "+41 44 123 45 67",
    "044 123 45 67",
    "+43 1 2345678",
    "+46 70 174 06 05",
    "070-174 06 05",
    "+47 21 23 45 67",
    "+45 32 12 34 56",
    "+48 22 123 45 67",
    "+420 601 123 456",
    "+7 (495) 123-45-67",
    "8-800-555-35-35",
    "8 (495) 123-45-67",
    "+90 212 123 45 67",
    "+972 3 123 4567",
    "+971 50 123 4567",
    "+91-99999-00000",
    "+91 99999 00000",
    "+86 138 0013 8000",
    "138 0013 8000",
    "+81 90-1234-5678",
    "090-1234-5678",
    "03-1234-5678",
    "+82 10-1234-5678",
    "010-1234-5678",
    "+61 491 570 006",
    "0491 570 006",
    "(02) 5550 1234",
    "+64 21 123 4567",
    "+55 11 91234-5678",
    "(11) 91234-5678",
    "+52 55 1234 5678",
    "+54 9 11 1234-5678",
    "+27 82 123 4567",
    "+234 803 123 4567",
    "+254 712 345678",
    "+353 20 910 1234",
    "+354 555 1234",
    "+852 5123 4567",
    "+65 9123 4567",
    "+44\u00a020\u00a07946\u00a00958",
    "555\u2011010\u20119999",
    "＋４４　２０　７９４６　０９５８",
    "+٤٤ ٢٠ ٧٩٤٦ ٠٩٥٨",
)

CALLED = (
    "call {5550109999}",
    "Tel.: {5550109999}",
    "phone number: {555-0109}",
    "whatsapp {447700900123}",
    "tel:{+1-555-010-9999}",
    "wa.me/{447700900123}",
    "Telefon {23125 123}",
    "mi móvil es {612 345 678}",
    "Handynummer: {0171 3920012}",
    "тел. {4951234567}",
    "電話 {0312345678}",
    "text me at {5550109999}",
    "ring him on {7946 0958}",
    "Fax: {(030) 23125-123}",
    "tel:{+442079460958}",
)
"""The secret stands in braces: nothing but the word before it says what it is."""

CARDS = (
    card("4", 16),
    grouped(card("4", 16), FOURS),
    grouped(card("41", 16), FOURS, "-"),
    grouped(card("45", 16), FOURS, "."),
    grouped(card("49", 16), FOURS, "  "),
    grouped(card("40", 16), FOURS, " - "),
    grouped(card("44", 16), FOURS, "\u00a0"),
    grouped(card("43", 16), FOURS, "\u2013"),
    card("4", 13),
    card("4", 19),
    grouped(card("47", 19), FOURS),
    card("51", 16),
    grouped(card("55", 16), FOURS),
    card("2221", 16),
    grouped(card("2720", 16), FOURS, "-"),
    card("34", 15),
    grouped(card("37", 15), (4, 6, 5)),
    grouped(card("34", 15), (4, 6, 5), "-"),
    card("36", 14),
    grouped(card("38", 14), (4, 6, 4)),
    card("300", 14),
    card("6011", 16),
    grouped(card("65", 16), FOURS),
    card("644", 16),
    card("3528", 16),
    grouped(card("3589", 16), FOURS),
    card("62", 16),
    card("62", 19),
    grouped(card("62", 19), (6, 13)),
    card("2200", 16),
    card("5018", 16),
    card("6304", 18),
    card("8171", 16),
    card("9792", 16),
    grouped(card("42", 16), (1,) * 16),
    grouped(card("53", 16), (8, 8)),
    grouped(card("4", 16), FOURS).translate({ord(str(d)): chr(0xFF10 + d) for d in range(10)}),
    card("54", 16).translate({ord(str(d)): chr(0x0660 + d) for d in range(10)}),
)

_IBANS = (
    iban("DE", "370400440739182645"),
    iban("GB", "NWBK60161307391826"),
    iban("FR", "20041010050739182645M02"[:23]),
    iban("NL", "ABNA0739182645"),
    iban("BE", "073918264573"),
    iban("ES", "21000418450739182645"),
    iban("IT", "X0542811101000000739182"),
    iban("CH", "0076201073918264A"),
    iban("AT", "1904300739182645"),
    iban("NO", "07391826450"),
    iban("SE", "50000000073918264573"),
    iban("DK", "00400739182645"),
    iban("FI", "21000739182645"),
    iban("PL", "109010140739182645073918"),
    iban("PT", "000201230739182645073"),
    iban("IE", "AIBK93115207391826"),
    iban("GR", "01101250000000007391826"),
    iban("CZ", "08000000190739182645"),
    iban("HU", "117730160739182645073918"),
    iban("RO", "AAAA1B31007593840000"),
    iban("TR", "0006100739182645078413"),
    iban("AE", "0330739182645073918"),
    iban("SA", "80000000608010167519"),
    iban("IL", "0108000000739182645"),
    iban("QA", "DOHB00001234567890ABCDEFG"),
    iban("MT", "MALT011000739182MTLCAST001S"),
    iban("BR", "00360305000010009795493P1"),
    iban("LC", "HEMM000100010012001200023015"),
    iban("SC", "SSCB11010000000000001497USD"),
    iban("UA", "3223130000026007233566001"),
)
IBANS = (
    *_IBANS,
    *(grouped(one, FOURS) for one in _IBANS),
    *(one.lower() for one in _IBANS[::4]),
    *(grouped(one, FOURS, "-") for one in _IBANS[1::4]),
    *(grouped(one, FOURS).lower() for one in _IBANS[2::4]),
    *(grouped(one, FOURS, "\u00a0") for one in _IBANS[3::6]),
)

CONTEXTS = (
    "{}",
    "Hello, it is {} from now on.",
    "({})",
    "here: {}!",
    "see {}, please, by 2026-11-24",
    "first line\n{}\nlast line",
    '{{"note": "{}"}}',
    "I paid 12.50 for it; {} is mine",
    "* {} *",
    "<b>{}</b>",
    "Is it {}?",
    "my data;{};end",
)

NEGATIVES = (
    # Times and dates.
    "on 2026-11-24 at 10:15:30",
    "2026-11-24T10:15:30.123456+01:00",
    "24.11.2026 10:15 to 25.11.2026 11:30",
    "11/24/2026, 12/01/2026",
    "epoch 1764000000 or 1764000000123 ms",
    "20261124101530",
    "2010-2015, 1999-2005 and 2020/2021",
    "Mon-Fri 09:00-18:00, Sat 10:00-14:00",
    "UTC+01:00, GMT+1 2024",
    "07:45-08:15-09:30",
    # Orders, tickets, parcels, books, goods.
    "order 1234567890",
    "order #555-010-9999",
    "order ORD-555-010-9999-7",
    "ticket 00012345678",
    "invoice INV-2026-0001234",
    "case no. 2026/000123/45",
    "tracking 1Z999AA10123456784",
    "tracking RB123456785GB",
    "ISBN 978-3-16-148410-0",
    "ISBN 0-306-40615-2",
    "EAN 5901234123457",
    "UPC 036000291452",
    "IMEI 353918051234567",
    "VIN 1M8GDM9AXKP042788",
    "order 1234567812345670 shipped",
    "order 7992739871300000",
    "order 9400 1000 0000 0000 0000 00",
    "SKU 4006381-333931-A",
    "part no. 0815-4711-0042-X",
    "serial 12-3456-7890-1234",
    # Amounts and counts.
    "$5,550,109,999",
    "1 000 000 000 people",
    "12.345.678,90 EUR",
    "1,234,567 of 7,654,321",
    "+15 000 000 views since May",
    "+1 000 000 000",
    "€ 1 234 567 890",
    "9 999 999 999 %",
    "100 200 300 400 500 600",
    "0.123 456 789",
    "0,333 333 333 333",
    "3.14159265358979323846",
    "2.718281828459045",
    "1.4142135623730950488",
    "6.02214076e23",
    "-273.15 to +5500.25",
    "1 2 3 4 5 6 7 8 9 10 11 12 13",
    "5 10 15 20 25 30 35 40 45 50",
    "1000 2000 3000 4000",
    "0 1 1 2 3 5 8 13 21 34 55 89 144",
    "2 3 5 7 11 13 17 19 23 29 31 37",
    # Nets, hashes, code, maths.
    "192.168.100.200:8080",
    "10.0.0.1, 255.255.255.0",
    "2001:db8:0:1:1:1:1:1",
    "00:1b:44:11:3a:b7",
    "0192e3f0-1111-7abc-8def-012345678901",
    "550e8400-e29b-41d4-a716-446655440000",
    "12345678-1234-1234-1234-123456789012",
    "d41d8cd98f00b204e9800998ecf8427e",
    "commit 4111111111111111abcdef0123456789abcdef01",
    "0x4111111111111111",
    "#123456789012",
    "react@18.2.0 and chat@12",
    "icon@2x.png and icon@3x.png",
    "@ada said so, @app.route too",
    "git@localhost:5432",
    "user @ example",
    "x@y",
    "a @ b.T",
    "version 10.20.30, v1.2.3.4567",
    "python 3.11.7, numpy 2.1.0, torch 2.13.0",
    "range(0, 1000000000, 1000)",
    "arr[1234567890:9876543210]",
    "for i in 0..1000000000",
    "sum = 123456789 + 987654321 = 1111111110",
    "1234567 - 7654321 = -6419754",
    "10 / 3 = 3.3333333333333335",
    "id=5550109999&x=1",
    "https://example.com/item/555-010-9999",
    "https://example.com/p/1234567890123?ref=2468101214",
    "https://example.com/2026/11/24/post-1234567",
    "/var/log/2026/11/24/0001.log",
    "file_555-010-9999.txt",
    "rgb(255, 255, 255) and 0.5 0.25 0.125",
    "1e10 2e20 3e30 4e40",
    "1010101010101010",
    "0000 0000 0000 0000",
    "1111 2222 3333 4444",
    "1234 5678 9012 3456",
    "9999-9999-9999-9999",
    # Places, sports, laws.
    "51.5074, -0.1278",
    "52.520008 13.404954",
    "40.712776,-74.005974",
    "12345-6789",
    "SW1A 1AA, 75008 Paris, 10115 Berlin",
    "won 3-1 6-4 7-5 6-3",
    "§ 123 (4) 567 BGB",
    "chapter 12, verse 3-17, page 1234-1256",
    "room 101, floor 12, block 3456",
    "call on 2024-11-24",
    "call 12 times",
    "the signal 1.5 to 2.5 GHz",
    "I bought the phone for 5550109999 reasons",
    "555-0109",
    "text 140 characters",
    # Near misses of checksums and lengths.
    "4111 1111 1111 1112",
    "5500000000000005",
    "340000000000000",
    "0000000000000000",
    "9111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 01",
    "DE89 3704 0044 0532 0130",
    "GB00 NWBK 6016 1331 9268 19",
    "XX89 3704 0044 0532 0130 00",
    "AB12CD34EF56GH78IJ90",
    "NO12 is not an account, BE34 neither",
    "se20 years ago in de12 of them",
    "FR2004 1010 0505",
    "IBAN: to be told",
    "credit card: none",
    "e-mail: none",
    "tel.: none",
    "",
    "no digits, no sign",
    "[email] [phone] [card] [iban]",
)


def _cases() -> tuple[Case, ...]:
    """Every form in two contexts in turn, the called ones in three, and every negative once."""
    cases = []
    contexts = cycle(CONTEXTS)
    for kind, forms in (("email", EMAILS), ("phone", PHONES), ("card", CARDS), ("iban", IBANS)):
        for form in forms:
            for _ in range(2):
                before, after = next(contexts).format("\0").split("\0")
                start, end = len(before), len(before) + len(form)
                cases.append(Case(text=before + form + after, kind=kind, start=start, end=end))
    for form in CALLED:
        cue, number = form.removesuffix("}").split("{")
        for before, after in (("", ""), ("You can ", ", really."), ("Please ", "\nThanks")):
            text, start = before + cue + number + after, len(before + cue)
            cases.append(Case(text=text, kind="phone", start=start, end=start + len(number)))
    cases += [Case(text=text) for text in NEGATIVES]
    return tuple(cases)


CASES = _cases()
