"""Goal: models are kept as they were published, and what we write loads elsewhere.

Method: small folders of every form that hubs hold; the written files read as JSON; and transformers
4.57 in an environment of its own, where there is one.
"""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from models.card import ModelCardFacts
from models.policy import Policy
from models.published import (
    check_published,
    copy_published,
    dtype_of,
    make_portable,
    origin_of,
)
from models.reward import RewardModel
from tests.models import transformers4
from tests.models.tokenizers_by_kind import KINDS
from tests.tiny_policy import byte_tokenizer, llama, save_tiny_policy
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parents[2]
PYTHON_4 = ROOT / ".venv-transformers4/bin/python"
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
CARD = ModelCardFacts(title="T", summary="S.", base_model="", pipeline_tag="text-generation")
TEXT = "How do I descale a kettle?"


def save_policy(folder, kind):
    """A policy with a tokenizer of the kind, positions scaled as Llama 3 scales them."""
    tokenizer = KINDS[kind]()
    model = llama(len(tokenizer))
    model.config.rope_parameters = dict(ROPE)
    Policy(type(model)(model.config).eval(), tokenizer, kind).save(folder, CARD)
    return folder


@pytest.fixture(scope="module")
def in_4(tmp_path_factory):
    """A folder of each kind, and what transformers 4 makes of it."""
    if not PYTHON_4.exists():
        pytest.skip(f"no {PYTHON_4.relative_to(ROOT)}: make transformers4 makes it")
    home = tmp_path_factory.mktemp("portable")
    folders = {kind: save_policy(home / kind, kind) for kind in KINDS}
    reward = RewardModel.from_pretrained("minilm", num_layers=2, max_tokens=32)
    torch.nn.init.normal_(reward.pooled.classifier.weight, std=0.1)
    reward.is_fitted = True
    reward.save(home / "reward", CARD)
    places = {kind: f"policy:{folder}" for kind, folder in folders.items()}
    places["reward"] = f"reward:{home / 'reward'}"
    done = subprocess.run(
        [PYTHON_4, transformers4.__file__, TEXT, *places.values()],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {kind: (Path(place.split(":", 1)[1]), found[place]) for kind, place in places.items()}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_policy_loads_in_transformers_4_and_says_the_same(kind, in_4):
    folder, theirs = in_4[kind]
    assert theirs["version"].startswith("4.57")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT)["input_ids"]
    assert theirs["ids"] == ids
    assert theirs["template"] == tokenizer.chat_template
    assert theirs["eos"] == tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        ours = model(torch.tensor([ids])).logits.flatten()
    torch.testing.assert_close(torch.tensor(theirs["logits"]), ours, atol=1e-4, rtol=1e-3)


def test_a_reward_model_loads_in_transformers_4_and_scores_the_same(in_4):
    folder, theirs = in_4["reward"]
    reward = RewardModel.from_pretrained(folder)
    ids = reward.tokenizer(TEXT, TEXT)["input_ids"]
    assert theirs["ids"] == ids
    with torch.inference_mode():
        ours = reward.model(torch.tensor([ids])).logits.flatten()
    torch.testing.assert_close(torch.tensor(theirs["logits"]), ours, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_written_files_hold_nothing_that_only_version_5_knows(kind, tmp_path):
    folder = save_policy(tmp_path / "model", kind)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not isinstance(tokenizer.get("extra_special_tokens"), list)
    assert "backend" not in tokenizer
    config = json.loads((folder / "config.json").read_text())
    assert (config["dtype"], config["torch_dtype"]) == ("float32", "float32")
    assert config["rope_theta"] == 500_000.0
    assert config["rope_scaling"] == {k: v for k, v in ROPE.items() if k != "rope_theta"}
    assert AutoConfig.from_pretrained(folder).rope_parameters == ROPE


def test_layers_with_positions_of_their_own_are_told_by_version_4s_names(tmp_path):
    """Gemma 3: local layers turn at 10,000, the others at a million and eight times slower."""
    kinds = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    text = {"model_type": "gemma3_text", "rope_parameters": kinds, "dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    make_portable(tmp_path)
    found = json.loads((tmp_path / "config.json").read_text())["text_config"]
    assert (found["rope_theta"], found["rope_local_base_freq"]) == (1e6, 1e4)
    assert found["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}
    assert found["torch_dtype"] == "bfloat16"


def test_a_copy_has_the_published_bytes_and_leaves_the_rest(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    tokenizer = byte_tokenizer()
    model = llama(len(tokenizer)).to(torch.bfloat16)
    model.save_pretrained(source, max_shard_size="20KB")
    tokenizer.save_pretrained(source)
    for name in ("LICENSE", "README.md", "modeling.py", "flax_model.msgpack", "optimizer.pt"):
        (source / name).write_text("x")
    (source / "pytorch_model.bin").write_bytes(b"x")
    assert copy_published(source, target)
    names = {file.name for file in target.iterdir()}
    assert len([name for name in names if name.endswith(".safetensors")]) > 1
    assert {"model.safetensors.index.json", "generation_config.json", "LICENSE"} <= names
    assert "chat_template.jinja" in names
    assert not names & {"README.md", "modeling.py", "optimizer.pt", "pytorch_model.bin"}
    assert all((target / n).read_bytes() == (source / n).read_bytes() for n in names)
    assert dtype_of(target) == "bf16"


def test_an_adapter_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"adapter \(PEFT\) for org/base.*merge_and_unload"):
        check_published(tmp_path)


def test_gguf_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "model.Q4.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"GGUF.*gguf_file"):
        check_published(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        check_published(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match=r"no weights"):
        check_published(tmp_path)


@pytest.mark.parametrize(
    ("files", "folder", "base"),
    [
        ({}, "my-model", "my-model"),
        ({}, "hub/models--org--small-2/snapshots/0123", "org/small-2"),
        ({"README.md": "---\nbase_model: org/base\nlicense: mit\n---\n# x"}, "m", "org/base"),
        ({"README.md": "---\nbase_model:\n- org/base\n---\n"}, "m", "org/base"),
        ({"README.md": "---\nbase_model: {\n---\n"}, "m", "m"),
        ({"README.md": "no head"}, "m", "m"),
        ({"config.json": '{"_name_or_path": "org/base"}'}, "m", "org/base"),
        ({"config.json": '{"_name_or_path": "/home/somebody/base"}'}, "m", "m"),
    ],
)
def test_the_base_is_named_as_the_folder_tells(files, folder, base, tmp_path):
    path = tmp_path / folder
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)
    assert origin_of(path).base_model == base


def test_a_name_on_a_hub_is_its_own_origin():
    assert origin_of("org/model").base_model == "org/model"


def test_a_saved_policy_is_loaded_the_same_again(tmp_path):
    first = Policy.from_pretrained(save_tiny_policy(tmp_path / "a"))
    first.save(tmp_path / "b", CARD)
    again = Policy.from_pretrained(tmp_path / "b")
    chats = [[{"role": "user", "content": "hi"}]]
    assert again.reply(chats, max_new_tokens=5, seed=1) == first.reply(
        chats, max_new_tokens=5, seed=1
    )
