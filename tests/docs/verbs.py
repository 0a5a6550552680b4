"""The verbs and options of `rluf`, to compare with what pages say of them."""

import shlex

import typer

from rluf.cli import app


def faults(text: str) -> list[str]:
    """What in `rluf VERB ... --option` does not exist."""
    words = shlex.split(text, comments=True)
    node, path = typer.main.get_command(app), [words[0]]
    rest = words[1:]
    while rest and hasattr(node, "commands") and not rest[0].startswith("-"):
        if rest[0] not in node.commands:
            return [f"{' '.join(path)} has no verb {rest[0]}"]
        node = node.commands[rest[0]]
        path.append(rest.pop(0))
    known = {opt for each in node.params for opt in (*each.opts, *each.secondary_opts)} | {"--help"}
    asked = [word.split("=", 1)[0] for word in rest if word.startswith("--")]
    return [f"{' '.join(path)} has no option {each}" for each in asked if not _is_of(known, each)]


def _is_of(known: set[str], asked: str) -> bool:
    """Whether an option is known; one that ends with … stands for all that begin so."""
    begin, dots, _ = asked.partition("…")
    return any(each.startswith(begin) for each in known) if dots else asked in known
