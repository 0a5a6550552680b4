"""The page as one file: markup, style and script put together, nothing loaded from elsewhere.

It works offline and behind any proxy. The Content-Security-Policy allows this very style and this
very script by their hashes and nothing else, so text that users wrote could not run even if the
script forgot to escape it.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
STYLES = ("page.css",)
SHARED = ("elements.js", "charts.js", "parts.js")
"""What the report of the demo is drawn with as well (rluf/demo/report.py)."""
SCRIPTS = (*SHARED, "sections.js", "page.js")
"""In the order in which they are put together: each uses what stands before it."""
MARK = re.compile(r"/\* (\w+) \*/")
"""Where a part goes in the markup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page and what goes with it."""

    body: bytes
    headers: Mapping[str, str]


def build_page() -> Page:
    """Put the page together from its files."""
    style, script = read_files(FOLDER, STYLES), read_files(FOLDER, SCRIPTS)
    html = put_together(read_files(FOLDER, ("page.html",)), style=style, script=script)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{hash_source(style)}'",
            f"script-src '{hash_source(script)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return Page(body=html.encode(), headers=headers)


def read_files(folder: Path, names: Sequence[str]) -> str:
    """Give the texts of these files, one after the other."""
    return "\n".join((folder / name).read_text("utf-8") for name in names)


def put_together(markup: str, **parts: str) -> str:
    """Put each part in place of its mark, which is `/* name */` and stands in the markup once."""
    marks = MARK.findall(markup)
    assert sorted(marks) == sorted(parts), f"the markup has the marks {marks}, not {list(parts)}"
    return MARK.sub(lambda mark: parts[mark[1]], markup)


def hash_source(text: str) -> str:
    """Give what CSP calls a hash source, of the exact text between the tags."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
