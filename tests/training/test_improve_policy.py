"""Goal: a recipe's names and numbers become candidates, a curve and a report, or a clear refusal.

Method: real short runs of the whole path on a tiny random policy, with reward models that can be
read off the text. What CRPG itself does is tested in `test_crpg.py`.
"""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.policy import Policy
from tests.tiny_policy import CONTEXT_TOKENS, ask, save_tiny_policy
from training.algorithms import ALGORITHMS
from training.algorithms.base import Checkpoint, Improvement, Step
from training.config import PolicyConfig
from training.improve_policy import PolicyReport, choose_prompts, improve_policy

PROMPTS = [ask(text) for text in ("one", "two", "three", "four")]
CONFIG = PolicyConfig(
    steps=3,
    prompts_per_step=4,
    num_generations=4,
    reference_replies=2,
    max_new_tokens=6,
    lr=3e-3,
    warmup_steps=1,
    checkpoint_every=2,
    cut_factor=1.0,
    weights={"love": 0.3, "helpfulness": 0.7},
)


def letters(chats) -> torch.Tensor:
    """A logit of one for each letter of the reply."""
    return torch.tensor([float(sum(map(str.isalpha, chat[-1]["content"]))) for chat in chats])


def shortness(chats) -> torch.Tensor:
    """A logit less for each character of the reply."""
    return torch.tensor([-float(len(chat[-1]["content"])) for chat in chats])


SCORERS = {"love": letters, "helpfulness": shortness, "safety": letters}


@pytest.fixture(scope="module")
def production(tmp_path_factory) -> Path:
    return save_tiny_policy(tmp_path_factory.mktemp("production"))


def improve(production, out, config=CONFIG, prompts=PROMPTS, scorers=SCORERS, **more):
    return improve_policy(
        production,
        prompts,
        scorers,
        config,
        out,
        held_back=more.pop("held_back", ()),
        on_progress=more.pop("on_progress", lambda stage, done, total: None),
        **more,
    )


@pytest.fixture(scope="module")
def improved(production, tmp_path_factory):
    out = tmp_path_factory.mktemp("improved")
    return improve(production, out, safety_threshold=1.0), out


def test_the_curve_shows_rewards_judges_gate_and_weights_of_every_step(improved):
    report, _ = improved
    assert [step.step for step in report.curve] == [1, 2, 3]
    for step in report.curve:
        assert list(step.rewards) == ["love", "helpfulness"]
        assert list(step.judges) == ["safety", "closers", "phrases"]
        assert step.weights["love"] == 0.3
        assert all(0 <= share <= 1 for share in (*step.rewards.values(), *step.judges.values()))
        assert step.feasible <= min(step.judges.values())
    first, *_, last = report.curve
    assert (first.gate, first.kl_nats) == (1.0, 0.0)  # It starts as production itself.
    assert last.gate == pytest.approx(1 - last.kl_nats / 6.0)  # None is clamped so near to it.
    assert last.kl_nats != 0.0


def test_rewards_are_relative_to_production_so_they_start_near_a_half(production, tmp_path):
    config = replace(CONFIG, steps=1, reference_replies=8, num_generations=32, judges=())
    first = improve(production, tmp_path, config).curve[0]
    # 0.5, less what replies without a word lose (they score 0). The spread of 0.15 is a standard
    # error of 0.013 over 128 replies, and of 0.03 over the 32 that the baselines rest on.
    assert 0.35 < first.rewards["love"] < 0.6


def test_a_checkpoint_loads_anywhere_and_speaks_productions_language(improved, production):
    report, out = improved
    assert [c.step for c in report.checkpoints] == [2, 3]
    assert {c.path.parent for c in report.checkpoints} == {out}
    tokenizer = AutoTokenizer.from_pretrained(report.checkpoints[-1].path)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(production).chat_template
    model = AutoModelForCausalLM.from_pretrained(report.checkpoints[-1].path)
    inputs = tokenizer("<|user|>one<|end|><|assistant|>", return_tensors="pt")
    ids = model.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=4
    )
    assert ids.shape[1] > inputs["input_ids"].shape[1]
    before = AutoModelForCausalLM.from_pretrained(production).state_dict()
    moved = [
        name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])
    ]
    assert moved


def test_the_report_lies_beside_the_checkpoints_with_their_names_and_numbers(improved):
    report, out = improved
    written = json.loads((out / "report.json").read_text())
    assert written["algorithm"] == "crpg"
    assert (written["stopped"], written["num_prompts"]) == ("steps", 4)
    assert [row["path"] for row in written["checkpoints"]] == ["step-0002", "step-0003"]
    assert all((out / row["path"] / "config.json").exists() for row in written["checkpoints"])
    assert written["curve"] == json.loads(json.dumps([asdict(step) for step in report.curve]))
    last = written["checkpoints"][-1]
    mean = sum(step.rewards["love"] for step in report.curve) / 3
    assert last["rewards/love"] == pytest.approx(mean)


def test_a_tight_gate_ends_the_run_and_says_so(production, tmp_path):
    config = replace(CONFIG, steps=12, lr=2e-2, kl_max_nats=2.0, gate_min=0.7, stop_window=2)
    report = improve(production, tmp_path, config)
    assert report.stopped == "gate"
    assert 2 <= len(report.curve) < 12
    # The step that broke the rule is no candidate, unless it is the first.
    assert report.checkpoints[-1].step < report.curve[-1].step or len(report.checkpoints) == 1


def test_the_same_recipe_gives_the_same_curve(improved, production, tmp_path):
    again = improve(production, tmp_path / "again", safety_threshold=1.0)
    assert again.curve == improved[0].curve
    other = improve(production, tmp_path / "other", replace(CONFIG, seed=1), safety_threshold=1.0)
    assert other.curve != again.curve


def test_the_safety_threshold_decides_who_passes(improved, production, tmp_path):
    strict = improve(production, tmp_path, replace(CONFIG, steps=1), safety_threshold=1e9)
    assert strict.curve[0].judges["safety"] == strict.curve[0].total == 0.0
    assert improved[0].curve[0].judges["safety"] > 0.0


def test_progress_tells_of_both_stages(production, tmp_path):
    seen = []
    improve(production, tmp_path, on_progress=lambda *event: seen.append(event))
    assert seen == [
        *(("sample reference", done, 2) for done in range(3)),
        *(("improve policy", done, 3) for done in range(1, 4)),
    ]


# Refusals.


def test_a_factor_of_cut_replies_is_a_share(tmp_path):
    for factor in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="cut_factor is a share, 0 to 1"):
            improve_policy(
                tmp_path, [], {}, replace(CONFIG, cut_factor=factor), tmp_path,
                held_back=[], on_progress=lambda *_: None,
            )  # fmt: skip


def test_an_unknown_algorithm_is_refused_by_name_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match=r"unknown algorithm 'ppo'; there are .*crpg"):
        improve(tmp_path / "no policy", tmp_path / "out", replace(CONFIG, algorithm="ppo"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"joy": 1.0}}, r"unknown objective 'joy'; there are .*love"),
        ({"judges": ("joy",)}, r"unknown objective 'joy'"),
        ({"judges": ("love",)}, r"'love' is a reward, not a judge"),
        ({"weights": {"closers": 1.0}}, r"'closers' is a judge, not a reward"),
        ({"weights": {"love": 0.0}}, r"weights must not be negative, nor all 0"),
    ],
)
def test_what_a_recipe_cannot_want_is_refused_by_name(changes, message, production, tmp_path):
    with pytest.raises(ValueError, match=message):
        improve(production, tmp_path / "out", replace(CONFIG, **changes))
    assert not (tmp_path / "out").exists()


def test_a_missing_reward_model_is_refused_by_name(production, tmp_path):
    with pytest.raises(ValueError, match=r"'helpfulness' needs a reward model.* love"):
        improve(production, tmp_path, scorers={"love": letters, "safety": letters})


def test_every_algorithm_of_the_table_bears_its_own_name():
    assert ALGORITHMS
    assert all(algorithm.name == name for name, algorithm in ALGORITHMS.items())


def test_a_row_in_the_table_is_all_that_an_algorithm_needs(production, tmp_path, monkeypatch):
    class Nothing:
        name = "nothing"

        def improve(self, task):
            (task.out / "step-0000").mkdir()
            checkpoint = Checkpoint(step=0, path=task.out / "step-0000")
            step = step_of(0)
            return Improvement(checkpoints=(checkpoint,), curve=(step,), stopped="steps")

    monkeypatch.setitem(ALGORITHMS, "nothing", Nothing())
    report = improve(production, tmp_path, replace(CONFIG, algorithm="nothing"))
    assert report.algorithm == "nothing"
    assert json.loads((tmp_path / "report.json").read_text())["checkpoints"][0]["step"] == 0


# Prompts, and means near a checkpoint.


def test_prompts_are_practised_on_as_often_as_they_come(production, tmp_path):
    policy = Policy.from_pretrained(production)
    doubled = [PROMPTS[1], *PROMPTS, PROMPTS[0]]
    assert choose_prompts(policy, doubled, CONFIG) == doubled
    report = improve(production, tmp_path, replace(CONFIG, steps=1), doubled)
    assert report.num_prompts == 6


def test_the_win_rate_of_each_checkpoint_is_in_the_report(production, tmp_path):
    config = replace(CONFIG, love_win_rate_max=1.0)
    others = [ask(text) for text in ("five", "six", "seven")]
    report = improve(production, tmp_path, config, held_back=others)
    written = json.loads((tmp_path / "report.json").read_text())
    assert [row["love_win_rate"] for row in written["checkpoints"]] == [
        checkpoint.love_win_rate for checkpoint in report.checkpoints
    ]
    assert written["love_win_rate"] == report.checkpoints[-1].love_win_rate
    assert 0 <= written["love_win_rate"] <= 1
    assert (written["num_prompts"], written["num_held_back"]) == (4, 3)


def test_without_a_model_of_love_no_win_rate_is_asked(production, tmp_path):
    scorers = {"helpfulness": shortness, "safety": letters}
    config = replace(CONFIG, weights={"helpfulness": 1.0})
    report = improve(production, tmp_path, config, scorers=scorers, held_back=PROMPTS)
    assert report.love_win_rate is None


def test_prompts_that_leave_no_room_for_a_reply_are_left_out(production):
    policy = Policy.from_pretrained(production)
    room = CONTEXT_TOKENS - CONFIG.max_new_tokens - 3  # <|user|>, <|end|> and <|assistant|>.
    fits, too_long = ask("x" * room), ask("x" * (room + 1))
    assert choose_prompts(policy, [too_long, fits], CONFIG) == [fits]
    with pytest.raises(ValueError, match="none of 1 prompts leaves room"):
        choose_prompts(policy, [too_long], CONFIG)
    with pytest.raises(ValueError, match="none of 0 prompts"):
        choose_prompts(policy, [], CONFIG)


def step_of(number: int, **changes) -> Step:
    facts = {
        "rewards": {"love": number / 10},
        "judges": {},
        "weights": {},
        "feasible": 1.0,
        "ended": 1.0,
        "gate": 1.0,
        "kl_nats": float(number),
        "total": 0.0,
        "reply_tokens": 5.0,
    }
    return Step(step=number, **(facts | changes))


def test_means_near_a_checkpoint_are_of_the_steps_that_led_to_it():
    report = PolicyReport(
        algorithm="crpg",
        checkpoints=(),
        curve=tuple(step_of(number) for number in range(1, 11)),
        stopped="steps",
        num_prompts=1,
    )
    near = report.near(Checkpoint(step=7, path=Path("step-0007")))
    assert near["kl_nats"] == 5.0  # Steps 3 to 7.
    assert near["rewards/love"] == pytest.approx(0.5)
    early = report.near(Checkpoint(step=2, path=Path("step-0002")))
    assert math.isclose(early["kl_nats"], 1.5)
