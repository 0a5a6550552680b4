"""The page as one file: markup, style and script put together, nothing loaded from elsewhere.

It works offline and behind any proxy. The Content-Security-Policy allows this very style and this
very script by their hashes and nothing else, so text that users wrote could not run even if the
script forgot to escape it.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
STYLES = ("page.css",)
SCRIPTS = ("elements.js", "charts.js", "sections.js", "page.js")
"""In the order in which they are put together: each uses what stands before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page and what goes with it."""

    body: bytes
    headers: Mapping[str, str]


def build_page() -> Page:
    """Put the page together from its files."""
    style = "\n".join(_read(name) for name in STYLES)
    script = "\n".join(_read(name) for name in SCRIPTS)
    html = _read("page.html")
    for mark, text in (("/* style */", style), ("/* script */", script)):
        assert html.count(mark) == 1, f"page.html must hold {mark} once"
        html = html.replace(mark, text)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
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


def _read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    """Give what CSP calls a hash source, of the exact text between the tags."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
