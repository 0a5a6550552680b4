"""Feedback tokens: a page sends a user's thumb without holding a key of ours.

A token goes out with an answer. It names the response and the user, ends after a while and is good
for nothing else. It is `rft1.<what it says>.<HMAC-SHA-256 of that>`, both in base64url; what it
says can be read (the user by pseudonym) and not changed.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from files.durable import make_private
from serving.errors import Forbidden, Unauthorised
from serving.pseudonyms import BadKey

MARK = "rft1"
PREFIX = f"{MARK}."
KEY_FILE = "feedback.key"
KEY_LINE = re.compile(r"[0-9a-f]{64}")
KEY_BYTES = 32
CHOICE = re.compile(r"-[1-9][0-9]{0,3}")
"""What follows an answer's id in those of its other choices."""


class Grant(msgspec.Struct, frozen=True):
    """What a token allows: this user's feedback on this response."""

    response_id: str
    user_id: str
    """As it is stored."""
    ends_s: int
    """Unix time."""

    def require(self, response_id: str, user_id: str) -> None:
        """Raise Forbidden unless the feedback is on this response, or a choice of it, and by this
        user."""
        rest = response_id.removeprefix(self.response_id)
        is_of_answer = response_id.startswith(self.response_id) and (
            not rest or CHOICE.fullmatch(rest) is not None
        )
        if not is_of_answer or user_id != self.user_id:
            param = "actor_id" if is_of_answer else "response_id"
            raise Forbidden(
                f"this token is for another {'user' if is_of_answer else 'response'}",
                param=param,
                code="token_of_another",
            )


class FeedbackTokens:
    """Gives tokens under the first of its keys, and takes those under any: so keys are changed."""

    def __init__(self, keys: Sequence[bytes], *, life_s: float) -> None:
        assert keys, "a token needs a key"
        self._keys = tuple(keys)
        self._life_s = life_s

    def give(self, response_id: str, user_id: str, now: datetime) -> str:
        """Give a token."""
        grant = Grant(response_id, user_id, int(now.timestamp() + self._life_s))
        said = f"{PREFIX}{_text(msgspec.json.encode(grant))}"
        return f"{said}.{_text(_digest(self._keys[0], said))}"

    def read(self, token: str, now: datetime) -> Grant:
        """Raises Unauthorised for what is no token of ours, or one that has ended."""
        said, _, signed = token.rpartition(".")
        try:
            digest, content = _bytes(signed), _bytes(said.removeprefix(PREFIX))
        except (ValueError, binascii.Error):
            digest, content = b"", b""
        # Each is compared, in constant time, so that timing tells nothing.
        is_ours = [hmac.compare_digest(digest, _digest(key, said)) for key in self._keys]
        if not any(is_ours):
            raise Unauthorised("This is no feedback token of ours.", code="invalid_token")
        grant = msgspec.json.decode(content, type=Grant)
        if now.timestamp() >= grant.ends_s:
            raise Unauthorised("This feedback token has ended.", code="token_expired")
        return grant


def read_keys(path: Path) -> list[bytes]:
    """Give the keys in a file, one a line, the one that signs first. Raises BadKey."""
    try:
        lines = path.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as fault:
        raise BadKey(f"cannot read the keys of feedback tokens in {path}: {fault}") from None
    if not lines or not all(map(KEY_LINE.fullmatch, lines)):
        raise BadKey(
            f"{path} must hold keys of {KEY_BYTES * 2} hexadecimal digits (0-9, a-f), one a line;"
            " the first signs, the others are still taken. Nothing is lost with it but the tokens"
            " that are out: delete it, and a new one is made"
        )
    return [bytes.fromhex(line) for line in lines]


def make_keys(path: Path) -> list[bytes]:
    """Give the keys in a file; one is made where there is none, readable by its owner only."""
    if not path.exists():
        try:
            make_private(path, f"{secrets.token_hex(KEY_BYTES)}\n")
        except OSError as fault:
            raise BadKey(f"cannot make {path}: {fault.strerror}") from None
    return read_keys(path)


def _digest(key: bytes, said: str) -> bytes:
    return hmac.digest(key, said.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
