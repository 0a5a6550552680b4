"""Loads model folders and prints what they say: run by transformers 4, in an environment of its
own (make transformers4). A reward model's code lies in its folder, and it reads a pair of texts."""

import json
import sys

import torch
import transformers

KINDS = {
    "policy": transformers.AutoModelForCausalLM,
    "reward": transformers.AutoModelForSequenceClassification,
}


def main(text: str, *places: str) -> None:
    """Print, of each kind:folder, ids and logits of a text, and what else it holds."""
    print(json.dumps({place: look(*place.split(":", 1), text) for place in places}))


def look(kind: str, folder: str, text: str) -> dict[str, object]:
    own_code = {"trust_remote_code": True} if kind == "reward" else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **own_code)
    model = KINDS[kind].from_pretrained(folder, dtype="auto", **own_code).eval()
    ids = (tokenizer(text, text) if kind == "reward" else tokenizer(text))["input_ids"]
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits.float().flatten()
    return {
        "version": transformers.__version__,
        "ids": ids,
        "logits": logits.tolist(),
        "dtype": str(model.dtype),
        "template": tokenizer.chat_template,
        "eos": tokenizer.eos_token,
        "special": sorted(tokenizer.all_special_tokens),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
