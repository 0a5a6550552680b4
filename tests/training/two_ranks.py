"""One of two processes that train together: `python -m tests.training.two_ranks FOLDER`.

Started with torch's own variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT); writes what this
rank decided to FOLDER/rank-<n>.json.
"""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from models.policy import Policy
from tests.tiny_policy import ask
from tests.training.test_crpg import CONFIG, Letters, held_back, task
from training.algorithms.crpg import Crpg, CrpgTrainer
from training.mixture import Mixture

RANK = int(os.environ["RANK"])
CONFIG_OF_TWO = replace(
    CONFIG, steps=4, checkpoint_every=2, stop_window=2, lr=1e-2, love_win_rate_max=1.0
)


class Biased(Letters):
    """Helpfulness that one rank finds good and the other bad: a rank by itself would err."""

    name = "helpfulness"

    def score(self, batch):
        return torch.full((len(batch.replies),), 0.1 if RANK == 0 else 0.6)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    texts: list[str] = []
    original = CrpgTrainer._calculate_rewards

    def spy(self, inputs, prompts, completions, completion_ids_list):
        texts.extend(completion[0]["content"] for completion in completions)
        return original(self, inputs, prompts, completions, completion_ids_list)

    CrpgTrainer._calculate_rewards = spy
    production = folder / "production"
    job = replace(
        task(production, folder / "out", CONFIG_OF_TWO, judges=()),
        prompts=[ask(str(number)) for number in range(16)],
        mixture=Mixture(rewards=(Letters(), Biased()), judges=(), weights=(0.3, 0.7)),
        held_back=held_back(production),
    )
    result = Crpg().improve(job)
    last = Policy.from_pretrained(result.checkpoints[-1].path)
    told = {
        "texts": texts,
        "curve": [asdict(step) for step in result.curve],
        "win_rates": [checkpoint.love_win_rate for checkpoint in result.checkpoints],
        "win_rate_alone": float(job.held_back.wins(last).mean()),
    }
    (folder / f"rank-{RANK}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
