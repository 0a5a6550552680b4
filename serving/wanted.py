"""What a request asks for, in whichever of OpenAI's three shapes it came."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.chat import Chat


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An answer that is wanted. None leaves a choice to the settings."""

    model: str
    prompts: tuple[Chat, ...]
    """Each is answered `num_choices` times; a chat has one."""
    param: str
    """The field that holds the prompts, for errors."""
    tokens_param: str
    """The field that limits the answer's length, for warnings."""
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    num_choices: int = 1
    num_tries: int = 1
    """How many are generated for each prompt, of which the likeliest `num_choices` are given."""
    num_top: int | None = None
    """The likeliest tokens that are told beside each token; None tells no log-probabilities."""
    stops: tuple[str, ...] = ()
    in_pieces: bool = False
    with_usage: bool = False
    """A streamed answer ends with the tokens counted."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_stored: bool = True
    """False: never learned from."""
