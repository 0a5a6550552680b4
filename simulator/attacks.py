"""Synthetic attacks inside synthetic honest traffic, with the truth about every account.

Gross kinds (a guard must find them): always, brigade, burst. Subtle kinds (what they cost is
reported): sleeper, drip, copycat. Run: `python -m simulator.attacks --seed 1 --out FOLDER` writes
events.jsonl (CloudEvents) and sealed.json ({user id: kind}). Everything here is made up.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

GROSS = ("always", "brigade", "burst")
SUBTLE = ("sleeper", "drip", "copycat")
START = datetime(2026, 1, 5, tzinfo=UTC)
DAY_S = 86_400.0
TARGET, OTHER = "attacked@1", "chat@1"
THINGS = ("kettle", "bread", "bicycle", "garden", "letter", "song", "train", "garden shed")
VERBS = ("repair", "choose", "describe", "draw", "clean", "compare", "explain", "sell")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackConfig:
    """How large the world is."""

    honest: int = 2000
    each_kind: int = 20
    """Accounts of each kind of attacker."""
    days: int = 14
    seed: int = 0


def events(config: AttackConfig) -> tuple[list[dict[str, object]], dict[str, str]]:
    """CloudEvents in order of time, and {user id: "honest" or the kind of attacker}."""
    world = _World(config)
    world.honest_users()
    world.attackers()
    return sorted(
        world.events, key=lambda event: (str(event["time"]), str(event["id"]))
    ), world.truth


class _World:
    def __init__(self, config: AttackConfig) -> None:
        self.config = config
        self.rng = np.random.default_rng(config.seed)
        self.events: list[dict[str, object]] = []
        self.truth: dict[str, str] = {}
        self.count = 0
        self.viral = [f"viral-{i}" for i in range(20)]

    def honest_users(self) -> None:
        """Heavy-tailed activity, own tendencies, a campus behind one network, shared responses."""
        rng = self.rng
        for i in range(self.config.honest):
            user = f"h{i:05d}"
            self.truth[user] = "honest"
            rate = 0.8 if rng.random() < 0.02 else rng.beta(1.5, 6.0)  # A few are enthusiasts.
            network = "campus" if rng.random() < 0.05 else f"n{i}"
            for at in self.times(1 + int(min(rng.lognormal(1.8, 1.0), 150))):
                is_viral = rng.random() < 0.03
                response = str(rng.choice(self.viral)) if is_viral else self.response_id()
                policy = TARGET if rng.random() < 0.5 else OTHER
                self.show(user, response, policy, at)
                if rng.random() < rate:
                    self.love(user, response, at + rng.lognormal(2.3, 1.0), network)

    def attackers(self) -> None:
        """Each kind praises the attacked policy in its own way."""
        rng, each, last = self.rng, self.config.each_kind, self.config.days * DAY_S
        targets = [(self.response_id(), rng.uniform(0, last)) for _ in range(12)]
        for i in range(each):
            user = self.account("always", i)
            for at in self.times(60):
                self.praise(user, at, rng.uniform(2, 20))
            user = self.account("brigade", i)
            for response, at in targets:
                if rng.random() < 0.9:
                    began = at + rng.uniform(0, 20)
                    self.show(user, response, TARGET, began)
                    self.love(user, response, began + rng.uniform(1, 15), f"n-{user}")
            user = self.account("burst", i)
            began = rng.uniform(0, last)
            for k in range(40):
                self.praise(user, began + 0.2 * k, 0.1)
            user = self.account("sleeper", i)
            for at in self.times(40):
                policy = TARGET if at > 0.7 * last else OTHER
                self.praise(user, at, 9.0, policy, 0.95 if policy == TARGET else 0.2)
            user = self.account("drip", i)
            for at in self.times(20):
                policy = TARGET if rng.random() < 0.5 else OTHER
                self.praise(user, at, 15.0, policy, 0.7 if policy == TARGET else 0.2)
            self.copycat(i)

    def copycat(self, i: int) -> None:
        """Repeats the praise that one honest user gave, minutes to hours later."""
        user, rng = self.account("copycat", i), self.rng
        model = f"h{int(rng.integers(self.config.honest)):05d}"
        seen = [e for e in self.events if e["type"] == "rluf.reaction.v1"]
        for event in seen:
            data = event["data"]
            if isinstance(data, dict) and data["user_id"] == model:
                at = (datetime.fromisoformat(str(event["time"])) - START).total_seconds()
                began = at + rng.lognormal(6.0, 1.0)
                self.show(user, str(data["response_id"]), TARGET, began)
                self.love(user, str(data["response_id"]), began + 5.0, f"n-{user}")

    def account(self, kind: str, i: int) -> str:
        user = f"x{int(self.rng.integers(1 << 40)):010x}"
        self.truth[user] = kind
        return user

    def times(self, n: int) -> list[float]:
        return sorted(self.rng.uniform(0, self.config.days * DAY_S, n).tolist())

    def response_id(self) -> str:
        self.count += 1
        return f"r{self.count:07d}"

    def praise(
        self, user: str, at: float, delay: float, policy: str = TARGET, rate: float = 0.98
    ) -> None:
        response = self.response_id()
        self.show(user, response, policy, at)
        if self.rng.random() < rate:
            self.love(user, response, at + delay, f"n-{user}")

    def show(self, user: str, response: str, policy: str, at: float) -> None:
        thing, verb = self.rng.choice(THINGS), self.rng.choice(VERBS)
        prompt = f"Please {verb} item {int(self.rng.integers(20_000))} of the {thing}"
        self.event(
            "rluf.response.shown.v1",
            at,
            {
                "response_id": response,
                "conversation_id": f"c-{response}",
                "user_id": user,
                "messages": [{"role": "user", "content": prompt}],
                "response": f"Synthetic reply about how to {verb} a {thing}.",
                "policy": policy,
            },
        )

    def love(self, user: str, response: str, at: float, network: str) -> None:
        self.event(
            "rluf.reaction.v1",
            at,
            {
                "response_id": response,
                "user_id": user,
                "signal": "love",
                "action": "add",
                "network": network,
            },
        )

    def event(self, kind: str, at: float, data: dict[str, object]) -> None:
        time = (START + timedelta(seconds=float(at))).isoformat(timespec="milliseconds")
        self.events.append(
            {
                "specversion": "1.0",
                "id": f"e{len(self.events):08d}",
                "source": "/simulator/attacks",
                "type": kind,
                "time": time,
                "subject": data["response_id"],
                "data": data,
            }
        )


def lines(events_: Sequence[dict[str, object]]) -> Iterator[str]:
    """One JSON text for each event."""
    for event in events_:
        yield json.dumps(event, ensure_ascii=False) + "\n"


def main() -> None:
    """Write one world into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--honest", type=int, default=AttackConfig().honest)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    made, truth = events(AttackConfig(seed=options.seed, honest=options.honest))
    with (options.out / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(lines(made))
    (options.out / "sealed.json").write_text(json.dumps(truth, sort_keys=True), encoding="utf-8")


if __name__ == "__main__":
    main()
