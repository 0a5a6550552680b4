"""A home on which a whole turn of the loop takes seconds: a hundred users, tiny models."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from models.artifacts import store_artifact
from models.live import promote
from models.migrate import migrate
from models.registry import Registry
from rluf.settings import load_settings
from streams.events import Message, Reaction, Shown
from tests.features.histories import store_all
from tests.tiny_policy import save_tiny_policy
from tests.training.tiny_encoder import save_tiny_encoder

START = datetime(2025, 3, 1, tzinfo=UTC)
NUM_USERS = 80
CHATS_PER_USER = 6
ASKED = ("kettles", "loops", "hills", "puppies", "cakes", "letters", "maps", "songs")
WARM, COLD = ("gladly", "kindly", "friend"), ("no", "never", "boring")
WORDS = (*ASKED, *WARM, *COLD, "tell", "me", "about", "number", *map(str, range(60)))


def settings_of(inputs: Path) -> dict[str, str]:
    """The environment that turns every dial down; `inputs` comes from `write_inputs`."""
    return {
        "RLUF_FEATURES__POSITIVE_SHARE": "0.4",
        "RLUF_TRAINING__REWARD__BASE": str(inputs / "encoder"),
        "RLUF_TRAINING__REWARD__MAX_TOKENS": "32",
        "RLUF_TRAINING__REWARD__FROZEN_LAYERS": "1",
        "RLUF_TRAINING__REWARD__EPOCHS": "1",
        "RLUF_TRAINING__REWARD__BOOTSTRAP_SAMPLES": "20",
        "RLUF_TRAINING__PREFERENCE__BASE": str(inputs / "encoder"),
        "RLUF_TRAINING__PREFERENCE__MAX_TOKENS": "32",
        "RLUF_TRAINING__PREFERENCE__FROZEN_LAYERS": "1",
        "RLUF_TRAINING__POLICY__STEPS": "2",
        "RLUF_TRAINING__POLICY__PROMPTS_PER_STEP": "2",
        "RLUF_TRAINING__POLICY__NUM_GENERATIONS": "2",
        "RLUF_TRAINING__POLICY__REFERENCE_REPLIES": "2",
        "RLUF_TRAINING__POLICY__MAX_NEW_TOKENS": "6",
        "RLUF_TRAINING__POLICY__CUT_FACTOR": "1.0",
        "RLUF_TRAINING__POLICY__LR": "0.01",
        "RLUF_REFRESH__WORKERS": "1",
        "RLUF_REFRESH__TRAIN_PROMPTS_MAX": "8",
        "RLUF_REFRESH__EVIDENCE_PROMPTS_MAX": "6",
        "RLUF_REFRESH__EVIDENCE_REPLIES": "1",
        "RLUF_REFRESH__HELPFULNESS_PAIRS": str(inputs / "helpfulness.jsonl"),
        "RLUF_REFRESH__SAFETY_PAIRS": str(inputs / "safety.jsonl"),
    }


def write_inputs(folder: Path) -> Path:
    """Write the encoder, the policy and the annotators' pairs that turns start from."""
    save_tiny_encoder(folder / "encoder", WORDS)
    save_tiny_policy(folder / "policy")
    for seed, kind in enumerate(("helpfulness", "safety")):
        rng = random.Random(seed)
        pairs = [
            {
                "prompt": [_message(f"tell me about {rng.choice(ASKED)} number {n}")],
                "chosen": f"{rng.choice(WARM)} {rng.choice(WARM)} {n}",
                "rejected": f"{rng.choice(COLD)} {n}",
            }
            for n in range(60)
        ]
        lines = [msgspec.json.encode(pair).decode() for pair in pairs]
        (folder / f"{kind}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def make_home(home: Path, inputs: Path) -> Path:
    """Make a home with facts, and with the tiny policy before everybody."""
    settings = load_settings([], {"RLUF_HOME": str(home)})
    home.mkdir(parents=True)
    store_all(home, _chats())
    migrate(settings.models.registry_url)
    registry = Registry(settings.models.registry_url, root=settings.home)
    version = registry.register(
        "chat",
        artifact=store_artifact(home, "chat", inputs / "policy"),
        kind="policy",
        config_hash="0" * 64,
        snapshot_hash=None,
    )
    promote(registry, "chat", version.number, who="test", why="the first", force=True)
    registry.close()
    return home


def _message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _chats() -> list[Shown | Reaction]:
    """Users one after the other, who love warm replies more often than cold ones."""
    rng = random.Random(0)
    events: list[Shown | Reaction] = []
    for number in range(NUM_USERS * CHATS_PER_USER):
        user, at = number // CHATS_PER_USER, START + timedelta(minutes=5 * number)
        is_warm = rng.random() < 0.5
        said = rng.choice(WARM if is_warm else COLD)
        events.append(
            Shown(
                id=f"s{number}",
                source="/test",
                response_id=f"r{number}",
                conversation_id=f"c{number}",
                user_id=f"u{user}",
                messages=(
                    Message(
                        role="user", content=f"tell me about {rng.choice(ASKED)} {number % 60}"
                    ),
                ),
                response=f"{said} {rng.choice(ASKED)}",
                policy="chat@1",
                surface="web",
                language="en",
                occurred_at=at,
                known_at=at,
            )
        )
        if rng.random() < (0.5 if is_warm else 0.1):
            events.append(
                Reaction(
                    id=f"l{number}",
                    source="/test",
                    response_id=f"r{number}",
                    user_id=f"u{user}",
                    signal="love",
                    action="add",
                    occurred_at=at + timedelta(seconds=20),
                    known_at=at + timedelta(seconds=20),
                )
            )
    return events
