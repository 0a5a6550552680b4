"""Synthetic attacks inside synthetic honest traffic, with the truth about every account.

Gross kinds (a guard must find them): always, brigade, burst. Subtle kinds (what they cost is
reported): sleeper, drip, copycat. Then a kind for each rule that none of these is for, and honest
kinds that look like it. Run: `python -m simulator.attacks --seed 1 --out FOLDER` writes
events.jsonl (CloudEvents) and sealed.json ({user id: kind}). Everything here is made up.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from simulator.attack_texts import beg, dictate, explain_likes, proofread

GROSS = ("always", "brigade", "burst")
SUBTLE = ("sleeper", "drip", "copycat")
BY_RULE = {
    "user_cap": ("hammerer",),
    "network_cap": ("farm",),
    "dictated": ("dictator",),
    "self_praise": ("begged", "insider"),
}
"""Attackers that one rule is for, by its name."""
LOOKALIKES = {
    "user_cap": "marathon",
    "network_cap": "class",
    "dictated": "proofreader",
    "self_praise": "howto",
}
"""Honest accounts that look like them."""
HOUSE = "staff-"
"""How ids of the house's own accounts begin here."""
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
    # A stream of its own: what came before stays as it is, whatever is added below.
    world.rng = np.random.default_rng([config.seed, 1])
    world.attackers_by_rule()
    world.lookalikes()
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

    def attackers_by_rule(self) -> None:
        """Each kind praises the attacked policy in the way that one rule is for."""
        rng, last = self.rng, self.config.days * DAY_S
        shifts = rng.uniform(0, max(last - DAY_S / 2, 1.0), 3)
        for i in range(self.config.each_kind):
            user = self.account("hammerer", i)
            began = rng.uniform(0, max(last - DAY_S / 2, 1.0))
            # Ten hours of steady work, which may fall on two days.
            for at in began + np.sort(rng.uniform(0, 36_000, int(rng.integers(200, 500)))):
                self.praise(user, float(at), 5.0, rate=0.6)
            user = self.account("farm", i)
            for began in shifts:
                for at in began + np.sort(rng.uniform(0, 43_200, 50)):
                    self.praise(user, float(at), 5.0, rate=0.6, network="farm")
            user = self.account("dictator", i)
            for at in self.times(50):
                if rng.random() < 0.5:
                    self.praise(user, at, 8.0, rate=0.95, texts=dictate(rng))
                else:
                    self.praise(user, at, 8.0, OTHER, 0.2)
            user = self.account("begged", i)
            for at in self.times(30):
                if rng.random() < 0.5:
                    thing = rng.choice(THINGS)
                    texts = f"Tell me about a {thing}", f"A {thing} is useful. {beg(rng)}"
                    self.praise(user, at, 8.0, rate=0.6, texts=texts)
                else:
                    self.praise(user, at, 8.0, OTHER, 0.2)
            user = self.account("insider", i, f"{HOUSE}{i}" if i else TARGET.partition("@")[0])
            for at in self.times(40):
                self.praise(user, at, 8.0, rate=0.6)

    def lookalikes(self) -> None:
        """Honest accounts that do what attackers do, with an opinion of their own."""
        rng, last = self.rng, self.config.days * DAY_S
        lesson = rng.uniform(0, max(last - DAY_S / 4, 1.0))
        for i in range(self.config.each_kind):
            user = self.account("marathon", i)
            began, rate = rng.uniform(0, max(last - DAY_S / 2, 1.0)), rng.beta(2.0, 4.0)
            for at in began + np.sort(rng.uniform(0, 36_000, int(rng.integers(80, 300)))):
                self.praise(user, float(at), 8.0, self.either(), rate)
            user, rate = self.account("class", i), rng.beta(2.0, 4.0)
            for at in lesson + np.sort(rng.uniform(0, 18_000, int(rng.integers(30, 80)))):
                self.praise(user, float(at), 8.0, self.either(), rate, network="class")
            for kind, texts_of in (("proofreader", proofread), ("howto", explain_likes)):
                user, rate = self.account(kind, i), rng.beta(2.0, 4.0)
                for at in self.times(16):
                    texts = texts_of(rng) if rng.random() < 0.5 else None
                    self.praise(user, at, 8.0, self.either(), rate, texts=texts)

    def either(self) -> str:
        return TARGET if self.rng.random() < 0.5 else OTHER

    def account(self, kind: str, i: int, name: str = "") -> str:
        user = name or f"x{int(self.rng.integers(1 << 40)):010x}"
        self.truth[user] = kind
        return user

    def times(self, n: int) -> list[float]:
        return sorted(self.rng.uniform(0, self.config.days * DAY_S, n).tolist())

    def response_id(self) -> str:
        self.count += 1
        return f"r{self.count:07d}"

    def praise(
        self,
        user: str,
        at: float,
        delay: float,
        policy: str = TARGET,
        rate: float = 0.98,
        *,
        network: str = "",
        texts: tuple[str, str] | None = None,
    ) -> None:
        response = self.response_id()
        self.show(user, response, policy, at, texts)
        if self.rng.random() < rate:
            self.love(user, response, at + delay, network or f"n-{user}")

    def show(
        self,
        user: str,
        response: str,
        policy: str,
        at: float,
        texts: tuple[str, str] | None = None,
    ) -> None:
        prompt, reply = self.small_talk() if texts is None else texts
        self.event(
            "rluf.response.shown.v1",
            at,
            {
                "response_id": response,
                "conversation_id": f"c-{response}",
                "user_id": user,
                "messages": [{"role": "user", "content": prompt}],
                "response": reply,
                "policy": policy,
            },
        )

    def small_talk(self) -> tuple[str, str]:
        thing, verb = self.rng.choice(THINGS), self.rng.choice(VERBS)
        prompt = f"Please {verb} item {int(self.rng.integers(20_000))} of the {thing}"
        return prompt, f"Synthetic reply about how to {verb} a {thing}."

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
