"""What every suite in Python is made of: checks named as sentences, each reported as a JSON line.

Standard library only, because it runs in the environment of each client.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

URL = os.environ.get("SUITES_URL", "")
KEY = os.environ.get("SUITES_KEY", "")
MODEL = "chat"
HELLO = [{"role": "user", "content": "hello there"}]
SOON_S = float(os.environ.get("SUITES_SOON_S", "300"))
"""Only a check that fails waits so long."""

Check = Callable[[], object]
_checks: list[Check] = []


class Skipped(Exception):
    """The check cannot be made here; the text says why. It counts as not run."""


@dataclass(frozen=True)
class Answer:
    """What the server said to a plain request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def check(function: Check) -> Check:
    """Register it; its name is the sentence that the report shows."""
    _checks.append(function)
    return function


def expect(is_so: object, seen: object = "") -> None:
    if not is_so:
        raise AssertionError(f"seen: {seen!r}"[:600])


def expect_raises(kind: type[BaseException], act: Callable[[], object]) -> Any:
    """Give the exception, which must be of the kind."""
    try:
        got = act()
    except kind as fault:
        return fault
    raise AssertionError(f"{kind.__name__} was not raised, got {got!r}"[:600])


def send(
    path: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    url: str = "",
    data: bytes | None = None,
) -> Answer:
    """A plain request, for what a client's SDK does not do itself."""
    if data is None and body is not None:
        data = json.dumps(body).encode()
    given = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(
        (url or URL) + path, data=data, headers={**given, **(headers or {})}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return Answer(answer.status, _lowered(answer.headers), answer.read())
    except urllib.error.HTTPError as refusal:
        return Answer(refusal.code, _lowered(refusal.headers), refusal.read())


def love(response_id: str, user: str, **changed: object) -> Answer:
    """Send a heart; with a key, so that it may be sent again."""
    body = {"response_id": response_id, "signal": "love", "actor_id": user, **changed}
    return send("/v1/feedback", body, headers={"idempotency-key": uuid.uuid4().hex})


def expect_loved(response_id: str, user: str, url: str = "") -> None:
    """Send a heart for the id that the client saw, and wait until it counts for its user."""
    said = love(response_id, user)
    expect(said.status == 202, (said.status, said.body))
    wait_for(lambda: features(user).get("num_love") == 1, lambda: features(user))


def features(user: str) -> dict[str, Any]:
    """The online features of a user; empty while there are none."""
    said = send(f"/v1/features/users/{user}")
    return said.json()["features"] if said.status == 200 else {}


def expect_not_learned(ask: Callable[[], object]) -> None:
    """Ask once; the store must then hold one more answer that nothing is learned from."""

    def number() -> int:
        found = _find(send("/v1/status").json(), "num_not_learnable")
        return int(found) if found is not None else 0

    before = number()
    ask()
    wait_for(lambda: number() == before + 1, number)


def _find(value: Any, name: str) -> Any:
    """The first value of the name, at any depth."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            if (found := _find(item, name)) is not None:
                return found
    return None


def wait_for(is_so: Callable[[], object], seen: Callable[[], object] = lambda: "") -> None:
    until = time.monotonic() + SOON_S
    while not is_so():
        if time.monotonic() > until:
            raise AssertionError(f"it did not come to be within {SOON_S} s; seen: {seen()!r}"[:600])
        time.sleep(0.2)


def new_user() -> str:
    return f"user-{uuid.uuid4().hex[:12]}"


def report(name: str, is_so: object, seen: object = "") -> None:
    """Report one check that is made elsewhere, such as by a tool's own run."""
    why = "" if is_so else f"seen: {seen}"[:1_600]
    row = {"check": name, "outcome": "passed" if is_so else "failed", "why": why, "s": 0.0}
    print(json.dumps(row), flush=True)


def main() -> None:
    """Run the checks in their order; the exit code says only whether all were run."""
    for function in _checks:
        name = function.__name__.replace("_", " ")
        began = time.monotonic()
        outcome, why = "passed", ""
        try:
            function()
        except Skipped as reason:
            outcome, why = "not run", str(reason)
        except Exception as fault:  # A check may fail in any way that its client can.
            last = traceback.extract_tb(fault.__traceback__)[-1]
            outcome, why = "failed", f"{type(fault).__name__}: {fault}"[:700]
            why += f" ({os.path.basename(last.filename)}:{last.lineno})"
        row = {"check": name, "outcome": outcome, "why": why, "s": time.monotonic() - began}
        print(json.dumps(row), flush=True)
    sys.exit(0)


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
