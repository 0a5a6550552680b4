"""Pseudonyms: what is stored of a user is a keyed hash of the id that the client sent.

The same id always gives the same pseudonym, so that a user keeps an arm, features and one vote a
response. Without the key nobody can go back from a pseudonym to an id, nor try out likely ids. The
key is a file of the home that only its owner may read; nothing else of the home holds an id.

The key is truth: nothing can make it again. It appears whole or not at all; one that is damaged is
refused and kept, and one that is gone while facts bear its pseudonyms is never replaced by another.
"""

import hashlib
import re
import secrets
from ipaddress import ip_address, ip_network
from pathlib import Path

from features.views import connect
from files.durable import make_private

ANONYMOUS = "anonymous"
"""The user where a request names none and bears no key; stored as it is."""
KEY_BYTES = 32
KEY_FILE = "pseudonym.key"
KEY_TEXT = re.compile(r"[0-9a-f]{64}\s*")
USER = re.compile(r"u_[0-9a-f]{32}")
"""What a user's pseudonym looks like."""
DIGEST_BYTES = 16
"""128 bits: among 10^12 users two share a pseudonym with probability 10^-15."""
PREFIX_V4 = 24
PREFIX_V6 = 48
"""A network is what one household or office can own: 256 addresses, or an IPv6 site."""


class BadKey(ValueError):
    """The key cannot be read or is not one; the text says what was found and what to do."""


class Pseudonyms:
    """Gives pseudonyms under one key; safe in threads."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise BadKey(f"a key has {KEY_BYTES} bytes, got {len(key)}")
        self._key = key

    def user(self, user_id: str) -> str:
        """Give the pseudonym of an id: `u_` and 32 hexadecimal digits.

        No id, and "anonymous", stay as they are.
        """
        if user_id in ("", ANONYMOUS):
            return user_id
        return f"u_{self._digest(b'user', user_id)}"

    def find(self, user_id: str) -> str:
        """The same for an operator's question, which may name a pseudonym as it is stored."""
        return user_id if USER.fullmatch(user_id) else self.user(user_id)

    def network(self, address: str) -> str:
        """Give the pseudonym of the network of an IP address; empty for what is not an address."""
        try:
            found = ip_address(address.strip())
        except ValueError:
            return ""
        prefix = PREFIX_V4 if found.version == 4 else PREFIX_V6
        network = ip_network((found, prefix), strict=False)
        return f"n_{self._digest(b'network', str(network))}"

    def _digest(self, kind: bytes, text: str) -> str:
        hashed = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"),
            key=self._key,
            digest_size=DIGEST_BYTES,
            person=kind.ljust(hashlib.blake2b.PERSON_SIZE, b"\0"),
        )
        return hashed.hexdigest()


def read_key(path: Path) -> bytes | None:
    """Give the key in a file, or None where there is no file. Raises BadKey."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise BadKey(f"cannot read the pseudonym key {path}: {fault.strerror}") from None
    text = content.decode("ascii", "replace")
    if not KEY_TEXT.fullmatch(text):
        raise BadKey(
            f"the pseudonym key {path} must hold {KEY_BYTES * 2} hexadecimal digits (0-9, a-f),"
            f" it holds {_seen(content)}. Put the right key back: with another one no user is found"
            " again. If nothing was ever stored under it, delete the file and a new one is made"
        )
    return bytes.fromhex(text)


def make_key(path: Path, *, root: Path) -> bytes:
    """Give the key in a file; made once, readable by its owner only.

    Raises BadKey, also where there is no file although facts under the home `root` bear pseudonyms.
    """
    key = read_key(path)
    if key is not None:
        return key
    require_not_lost(path, root=root)
    try:  # No fact may bear a pseudonym whose key a power cut takes away.
        make_private(path, f"{secrets.token_hex(KEY_BYTES)}\n")
    except OSError as fault:
        raise BadKey(f"cannot make the pseudonym key {path}: {fault.strerror}") from None
    found = read_key(path)
    if found is None:
        raise BadKey(f"the pseudonym key {path} vanished")
    return found


def require_not_lost(path: Path, *, root: Path) -> None:
    """Raises BadKey where facts under the home `root` bear pseudonyms, so that there was a key.

    For callers that found no file. It reads the users of all facts where none of them has one.
    """
    with connect(root) as connection:
        found = any(
            connection.execute(
                f"SELECT 1 FROM stored_{kind} WHERE regexp_full_match(user_id, ?) LIMIT 1",
                [USER.pattern],
            ).fetchone()
            for kind in ("shown", "reactions")
        )
    if found:
        raise BadKey(
            f"the pseudonym key {path} is gone, and the facts under {root} bear its pseudonyms. Put"
            " it back from a backup: with another one no user is found again. To begin anew all"
            f" the same, make one yourself: (umask 077; openssl rand -hex {KEY_BYTES} > {path})"
        )


def _seen(content: bytes) -> str:
    """Say what lies where a key should, without showing it."""
    if not content.strip():
        return "nothing"
    if not content.strip(b"\0"):
        return f"{len(content)} zero bytes, as after a power cut"
    return f"{len(content.strip())} bytes that are not that"
