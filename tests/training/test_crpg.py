"""Goal: CRPG gives TRL exactly R̃, and learns. Method: real short runs on a tiny random policy.

These runs go through private methods of TRL 1.16; they are what tells when a new TRL moves them.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from models.policy import Policy
from tests.tiny_policy import ask, save_tiny_policy
from training.algorithms.base import Step, Task
from training.algorithms.crpg import Crpg, CrpgTrainer, stop_reason
from training.config import PolicyConfig
from training.held_back import HeldBack, hold_back
from training.mixture import Mixture

PROMPTS = [ask(text) for text in ("one", "two", "three", "four")]
CONFIG = PolicyConfig(
    steps=3,
    prompts_per_step=4,
    num_generations=4,
    max_new_tokens=6,
    lr=3e-3,
    warmup_steps=1,
    checkpoint_every=2,
    cut_factor=1.0,
)


class Letters:
    """Rewards the share of letters among a reply's characters: what a random policy can learn."""

    name = "love"
    kind = "reward"

    def score(self, batch):
        shares = [
            sum(c.isascii() and c.isalpha() for c in r) / max(1, len(r)) for r in batch.replies
        ]
        return torch.tensor(shares)


class NoZ:
    """Vetoes replies with a z."""

    name = "closers"
    kind = "judge"

    def score(self, batch):
        return torch.tensor([float("z" not in reply) for reply in batch.replies])


@pytest.fixture(scope="module")
def production(tmp_path_factory) -> Path:
    return save_tiny_policy(tmp_path_factory.mktemp("production"))


def task(production: Path, out: Path, config: PolicyConfig = CONFIG, judges=(NoZ(),)) -> Task:
    return Task(
        policy=production,
        prompts=PROMPTS,
        mixture=Mixture(rewards=(Letters(),), judges=judges, weights=(1.0,)),
        config=config,
        held_back=None,
        out=out,
        on_progress=lambda stage, done, total: None,
    )


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_short_run_leaves_candidates_a_curve_and_production_as_it_was(production, tmp_path):
    before = weights_hash(production)
    seen: list[tuple[str, int, int]] = []
    job = replace(task(production, tmp_path), on_progress=lambda *event: seen.append(event))
    result = Crpg().improve(job)
    assert [checkpoint.step for checkpoint in result.checkpoints] == [2, 3]
    assert len({weights_hash(c.path) for c in result.checkpoints} | {before}) == 3
    assert weights_hash(production) == before
    assert [step.step for step in result.curve] == [1, 2, 3]
    assert result.stopped == "steps"
    assert seen == [("improve policy", done, 3) for done in (1, 2, 3)]


def test_at_the_first_step_the_policy_is_the_reference(production, tmp_path):
    first, *_, last = Crpg().improve(task(production, tmp_path)).curve
    assert first.kl_nats == 0.0
    assert first.gate == 1.0
    assert last.kl_nats != 0.0


def test_a_checkpoint_loads_and_talks_like_any_policy(production, tmp_path):
    path = Crpg().improve(task(production, tmp_path)).checkpoints[-1].path
    learned, old = Policy.from_pretrained(path), Policy.from_pretrained(production)
    assert len(learned.reply(PROMPTS, max_new_tokens=5, seed=0)) == len(PROMPTS)
    assert learned.model.generation_config.eos_token_id == [old.tokenizer.eos_token_id]
    assert learned.tokenizer.chat_template == old.tokenizer.chat_template


def test_dials_of_sampling_without_do_sample_do_not_end_a_run(production, tmp_path):
    """As Llama 2 was published: transformers loads such dials and refuses to write them."""
    odd = shutil.copytree(production, tmp_path / "odd")
    (odd / "generation_config.json").write_text('{"temperature": 0.9, "do_sample": false}')
    config = replace(CONFIG, steps=1)
    path = Crpg().improve(task(odd, tmp_path / "out", config)).checkpoints[-1].path
    assert Policy.from_pretrained(path).model.generation_config.temperature == 0.9


def test_the_same_task_gives_the_same_weights(production, tmp_path):
    first = Crpg().improve(task(production, tmp_path / "first"))
    torch.rand(5)  # Whatever else draws in the process must not matter.
    second = Crpg().improve(task(production, tmp_path / "second"))
    other = Crpg().improve(task(production, tmp_path / "other", replace(CONFIG, seed=1)))
    hashes = [weights_hash(result.checkpoints[-1].path) for result in (first, second, other)]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]
    assert first.curve == second.curve


def test_trl_learns_from_columns_that_add_up_to_the_mixed_reward(production, tmp_path, monkeypatch):
    """Recomputes R̃ of every reply from the texts and from both models' log-probabilities."""
    seen = []
    original = CrpgTrainer._calculate_rewards

    def spy(self, inputs, prompts, completions, completion_ids_list):
        columns = original(self, inputs, prompts, completions, completion_ids_list)
        mine = Policy(self.model, self.processing_class, "")
        theirs = Policy.from_pretrained(production)
        replies = [completion[0]["content"] for completion in completions]
        ids = [
            replace(reply, token_ids=tuple(ids))
            for reply, ids in zip(
                mine.reply(prompts, max_new_tokens=1), completion_ids_list, strict=True
            )
        ]
        log_ratio = mine.log_probs(prompts, ids) - theirs.log_probs(prompts, ids)
        for reply, ratio, column in zip(replies, log_ratio.tolist(), columns.tolist(), strict=True):
            letters = sum(c.isascii() and c.isalpha() for c in reply) / max(1, len(reply))
            gate = max(1 - ratio / self.config.kl_max_nats, 0)
            seen.append((sum(column), 0.0 if "z" in reply else gate * letters))
        return columns

    monkeypatch.setattr(CrpgTrainer, "_calculate_rewards", spy)
    Crpg().improve(task(production, tmp_path, replace(CONFIG, kl_max_nats=0.5, lr=1e-2)))
    assert len(seen) == 3 * 16
    given, by_hand = zip(*seen, strict=True)
    assert given == pytest.approx(by_hand, abs=1e-3)  # Float32 over some six tokens.
    assert len({round(value, 3) for value in given}) > 5


LEARNING = replace(CONFIG, steps=30, lr=5e-3, num_generations=8, gate_min=0.0, checkpoint_every=99)


@pytest.fixture(scope="module")
def learned(production, tmp_path_factory) -> tuple[Step, ...]:
    """The curve of a policy left free to go where the reward is."""
    job = task(production, tmp_path_factory.mktemp("free"), replace(LEARNING, kl_max_nats=1000.0))
    return Crpg().improve(job).curve


def test_a_policy_learns_what_is_rewarded(learned):
    early, late = (sum(s.rewards["love"] for s in part) / 5 for part in (learned[:5], learned[-5:]))
    assert late > early + 0.2


def test_a_gate_keeps_the_policy_nearer_to_production(production, tmp_path, learned):
    tight = Crpg().improve(task(production, tmp_path, replace(LEARNING, kl_max_nats=2.0))).curve
    free_nats, tight_nats = (sum(s.kl_nats for s in c[-5:]) / 5 for c in (learned, tight))
    assert free_nats > 3.0
    assert tight_nats < free_nats / 2


def test_where_nothing_is_feasible_nothing_is_learned(production, tmp_path):
    class Never(NoZ):
        def score(self, batch):
            return torch.zeros(len(batch.replies))

    curve = Crpg().improve(task(production, tmp_path, judges=(Never(),))).curve
    # TRL's penalty of a millionth a nat is all that is left; the first step has not even that.
    assert [s.total for s in curve] == [0.0, 0.0, 0.0]
    assert curve[1].kl_nats == 0.0


def test_replies_cut_off_score_by_their_factor_and_are_counted(production, tmp_path):
    totals = {}
    for factor in (1.0, 0.5, 0.0):
        dials = replace(CONFIG, cut_factor=factor, steps=1)
        (first,) = Crpg().improve(task(production, tmp_path / str(factor), dials)).curve
        totals[factor] = first.total
        assert first.ended < 0.5  # A random policy seldom ends within six tokens.
        assert first.feasible > first.ended, "being cut vetoes nothing"
    assert 0 <= totals[0.0] < totals[0.5] < totals[1.0]
    assert totals[0.5] == pytest.approx((totals[0.0] + totals[1.0]) / 2)


def step(**changes: float) -> Step:
    facts = {
        "step": 1,
        "rewards": {"love": 0.5},
        "judges": {},
        "weights": {},
        "feasible": 1.0,
        "ended": 1.0,
        "gate": 1.0,
        "kl_nats": 0.0,
        "total": 0.5,
        "reply_tokens": 5.0,
    }
    return Step(**{**facts, **changes})


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        ([], None),
        ([step()] * 9, None),
        ([step(gate=0.1)] * 2, None),  # Too few to tell.
        ([step(gate=0.49)] * 3, "gate"),
        ([step(gate=0.1), *[step(gate=0.6)] * 3], None),  # It recovered.
        ([step(rewards={"love": 0.9})] * 3, None),  # Its win rate is asked on other prompts.
    ],
)
def test_the_run_stops_where_the_last_steps_say_so(curve, reason):
    config = PolicyConfig(stop_window=3, gate_min=0.5)
    assert stop_reason(curve, config) == reason


def held_back(production: Path, prompts: int = 12) -> HeldBack:
    def letters(chats):
        return Letters().score(SimpleNamespace(replies=[chat[-1]["content"] for chat in chats]))

    return hold_back(
        Policy.from_pretrained(production),
        [ask(f"other {number}") for number in range(prompts)],
        letters,
        replies=4,
        max_new_tokens=6,
        seed=3,
    )


STOPPING = replace(LEARNING, kl_max_nats=1000.0, checkpoint_every=2)


def test_production_wins_half_of_the_time_against_itself(production):
    wins_P = held_back(production, 40).wins(Policy.from_pretrained(production))
    assert wins_P.mean() == pytest.approx(0.5)  # Both draw the same replies: every pair has a twin.


def test_training_stops_by_the_win_rate_that_the_evidence_would_measure(production, tmp_path):
    """`wins_of` and `draw_samples` are the gate's own; the checkpoints before the stop are kept."""
    prompts = held_back(production)
    job = replace(task(production, tmp_path, STOPPING), held_back=prompts)
    result = Crpg().improve(job)
    assert result.stopped == "love_win_rate"
    rates = [checkpoint.love_win_rate for checkpoint in result.checkpoints]
    assert max(rates) < STOPPING.love_win_rate_max <= result.love_win_rate
    for checkpoint in result.checkpoints:
        again = prompts.wins(Policy.from_pretrained(checkpoint.path)).mean()
        assert again == pytest.approx(checkpoint.love_win_rate)


def test_the_step_that_broke_a_rule_is_not_kept_but_all_before_it_are(production, tmp_path):
    job = replace(task(production, tmp_path, STOPPING), held_back=held_back(production))
    result = Crpg().improve(job)
    steps = [checkpoint.step for checkpoint in result.checkpoints]
    assert steps == list(range(2, len(result.curve), 2))
    assert sorted(path.name for path in tmp_path.glob("step-*")) == [
        f"step-{step:04d}" for step in steps
    ]


def test_where_the_first_checkpoint_breaks_a_rule_it_is_left_to_the_evidence(production, tmp_path):
    config = replace(STOPPING, love_win_rate_max=0.0)
    job = replace(task(production, tmp_path, config), held_back=held_back(production))
    result = Crpg().improve(job)
    assert (result.stopped, len(result.curve)) == ("love_win_rate", 2)
    assert [checkpoint.step for checkpoint in result.checkpoints] == [2]


def test_a_share_of_the_prompts_is_asked_by_each_rank_and_together_they_are_all(production):
    prompts, policy = held_back(production, 7), Policy.from_pretrained(production)
    shares = [prompts.wins(policy, first=rank, every=3) for rank in range(3)]
    together = {
        p: w
        for rank, wins in enumerate(shares)
        for p, w in zip(range(rank, 7, 3), wins, strict=True)
    }
    assert [together[place] for place in range(7)] == prompts.wins(policy).tolist()
    assert prompts.wins(policy, first=7, every=8).tolist() == []


def test_helpfulness_gains_weight_while_it_is_too_low(production, tmp_path):
    class Unhelpful(Letters):
        name = "helpfulness"

        def score(self, batch):
            return torch.full((len(batch.replies),), 0.28)

    job = replace(
        task(production, tmp_path),
        mixture=Mixture(rewards=(Letters(), Unhelpful()), judges=(), weights=(0.3, 0.7)),
    )
    curve = Crpg().improve(job).curve
    weights = [round(s.weights["helpfulness"], 6) for s in curve]
    assert weights == [0.7, 0.71, 0.72]  # 0.05 · (0.48 − 0.28) a step.
    assert {s.weights["love"] for s in curve} == {0.3}
