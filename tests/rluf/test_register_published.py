"""Goal: what is registered is the model as it was published, with a card that tells its origin.

Method: folders as hubs hold them, registered in this process; the artifact's files are looked at.
"""

import json
import os

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.artifacts import LEFTOVER_AGE_S
from models.card import ModelCardFacts
from models.policy import Policy
from models.published import copy_published, dtype_of
from rluf.register import register_policy
from rluf.settings import load_settings
from rluf.wiring import open_registry, prepare
from tests.models.tokenizers_by_kind import byte_fallback
from tests.tiny_policy import byte_tokenizer, llama


@pytest.fixture
def settings(tmp_path):
    return prepare(load_settings((), {"RLUF_HOME": str(tmp_path / "home")}), migrate_first=True)


@pytest.fixture
def registry(settings):
    opened = open_registry(settings)
    yield opened
    opened.close()


@pytest.fixture
def register(settings, registry):
    """Registers a folder; gives the report and the artifact's folder."""

    def run(source):
        made = register_policy(settings, registry, str(source), who="me", why="a test")
        number = int(made.version.split("@")[1])
        return made, registry.open_artifact(registry.version("chat", number))

    return run


def publish(folder, *, tokenizer=None, model=None, **how):
    tokenizer = byte_tokenizer() if tokenizer is None else tokenizer
    model = llama(len(tokenizer)) if model is None else model
    model.save_pretrained(folder, **how)
    tokenizer.save_pretrained(folder)
    return folder


def test_dtype_shards_and_dials_are_kept(register, tmp_path):
    model = llama(260).to(torch.bfloat16)
    model.generation_config.temperature = 0.7
    model.generation_config.do_sample = True
    made, artifact = register(publish(tmp_path / "m", model=model, max_shard_size="20KB"))
    assert made.dtype == dtype_of(artifact) == "bf16"
    assert len(list(artifact.glob("model-*.safetensors"))) > 1
    again = AutoModelForCausalLM.from_pretrained(artifact)
    assert again.dtype == torch.bfloat16
    assert again.generation_config.temperature == 0.7
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)


def test_tied_weights_and_rows_that_no_token_has_are_taken(register, tmp_path):
    model = llama(400)
    model.config.tie_word_embeddings = True
    tied = type(model)(model.config)
    _, artifact = register(publish(tmp_path / "m", model=tied))
    again = AutoModelForCausalLM.from_pretrained(artifact)
    assert again.lm_head.weight.data_ptr() == again.model.embed_tokens.weight.data_ptr()


def test_pickled_weights_are_kept_as_safetensors(register, tmp_path):
    folder = publish(tmp_path / "m", model=llama(260).to(torch.float16))
    weights = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    made, artifact = register(folder)
    assert made.dtype == "f16"
    assert not list(artifact.glob("*.bin"))
    again = AutoModelForCausalLM.from_pretrained(artifact).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def pickle_weights(folder):
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


@pytest.mark.parametrize("is_pickled", [False, True])
def test_weights_that_transformers_does_not_read_are_left(register, tmp_path, is_pickled):
    folder = publish(tmp_path / "m")
    if is_pickled:
        pickle_weights(folder)
    for name in ("consolidated.safetensors", "model.fp16.safetensors"):
        save_file({"x": torch.zeros(100_000, dtype=torch.float16)}, folder / name)
    made, artifact = register(folder)
    assert made.dtype == "f32"
    assert [file.name for file in artifact.glob("*.safetensors")] == ["model.safetensors"]
    AutoModelForCausalLM.from_pretrained(artifact)


@pytest.mark.parametrize("is_pickled", [False, True])
def test_dials_of_sampling_without_do_sample_are_taken_as_meant(register, tmp_path, is_pickled):
    """As Llama 2 was published; a policy made from it can be written."""
    folder = publish(tmp_path / "m")
    if is_pickled:
        pickle_weights(folder)
    dials = {"temperature": 0.9, "top_p": 0.6, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(dials))
    _, artifact = register(folder)
    card = ModelCardFacts(title="x", summary="x", base_model="x", pipeline_tag="text-generation")
    Policy.from_pretrained(artifact).save(tmp_path / "again", card)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again").generation_config
    assert (again.temperature, again.top_p, again.do_sample) == (0.9, 0.6, True)


def test_an_index_may_not_name_files_elsewhere(tmp_path):
    folder = publish(tmp_path / "m")
    (folder / "model.safetensors").rename(tmp_path / "w.safetensors")
    index = {"metadata": {}, "weight_map": {"x": "../w.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="another folder"):
        copy_published(folder, tmp_path / "kept")


def test_the_card_tells_origin_and_licence(register, tmp_path):
    folder = publish(tmp_path / "hub" / "models--org--small" / "snapshots" / "01")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: [de, en]\n---\n# Small")
    _, artifact = register(folder)
    card = ModelCard.load(artifact / "README.md")
    assert card.data.base_model == "org/small"
    assert card.data.license == "apache-2.0"
    assert card.data.language == "de"


def test_a_base_model_gets_a_template_that_begins_as_its_tokenizer_does(register, tmp_path):
    tokenizer = byte_fallback()
    tokenizer.chat_template = None
    _, artifact = register(publish(tmp_path / "m", tokenizer=tokenizer))
    read = AutoTokenizer.from_pretrained(artifact)
    ids = read.apply_chat_template([{"role": "user", "content": "hi"}])["input_ids"]
    assert ids[0] == read.bos_token_id
    assert ids.count(read.bos_token_id) == 1


def test_a_tokenizer_without_pad_and_end_is_taken(register, tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    tokenizer.eos_token = None
    register(publish(tmp_path / "m", tokenizer=tokenizer))


def test_a_tokenizer_larger_than_the_model_is_refused(register, tmp_path):
    with pytest.raises(ValueError, match="tokenizer has 260 tokens and the model only 200"):
        register(publish(tmp_path / "m", model=llama(200)))


def test_code_of_its_own_is_never_run(register, tmp_path):
    folder = publish(tmp_path / "m")
    config = (folder / "config.json").read_text().replace('"llama"', '"of-its-own"')
    (folder / "config.json").write_text(
        config.replace("{", '{"auto_map": {"AutoConfig": "own.OwnConfig"},', 1)
    )
    (folder / "own.py").write_text("raise SystemExit('was run')")
    with pytest.raises(ValueError, match="trust_remote_code"):
        register(folder)


def test_what_a_killed_register_left_is_removed_by_a_later_one(register, settings, tmp_path):
    left = settings.home / "artifacts" / "chat" / ".incoming-dead"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    old = left.stat().st_mtime - LEFTOVER_AGE_S - 60
    os.utime(left, (old, old))
    register(publish(tmp_path / "m"))
    assert not left.exists()
    assert [p.name for p in settings.home.glob("rluf-register-*")] == []
    assert [p.name for p in left.parent.iterdir() if p.name.startswith(".")] == []
