"""A loaded policy as the engine uses it: it speaks, and knows how much fits.

The engine needs this little of a policy, so that another way of generating (a vLLM server, say)
is one class that meets `Voice`, and the engine is tested without weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jinja2.exceptions import TemplateError

from models.artifacts import verify_artifact
from models.chat import Chat
from models.generation import Generation, Wish
from models.policy import Policy
from models.replies import Piece, Reply
from models.versions import Version

WARM_UP: Chat = [{"role": "user", "content": "Hello"}]


class BadChat(ValueError):
    """The policy's chat template does not take this conversation."""


class Replies(Protocol):
    """Replies under way together: models.generation.Generation."""

    @property
    def num_wishes(self) -> int:
        """How many are under way."""

    def join(self, wishes: Sequence[Wish]) -> None:
        """Take wishes in at the next step; with and without a seed not in one call."""

    def leave(self, wish: Wish) -> None:
        """Generate no more of it; called while another thread is in `step`."""

    def step(self) -> list[tuple[Wish, Piece | Reply]]:
        """Generate a token of each; give the pieces and replies that are ready."""

    def split(self, groups: Sequence[Sequence[Wish]]) -> "Sequence[Replies]":
        """After a failed step: let each group go on by itself, where it was before."""


class Voice(Protocol):
    """What the engine needs of a policy. Called from one thread at a time."""

    @property
    def context_tokens(self) -> int:
        """The longest prompt and reply together."""

    def prompt_ids(self, chat: Chat) -> list[int]:
        """The chat as a prompt, in tokens. Raises BadChat if the template refuses it."""

    def begin(self) -> Replies:
        """Nothing under way yet."""


@dataclass(frozen=True, slots=True)
class PolicyVoice:
    """A `models.policy.Policy` in this process."""

    policy: Policy

    @property
    def context_tokens(self) -> int:
        return self.policy.context_tokens

    def prompt_ids(self, chat: Chat) -> list[int]:
        try:
            return self.policy.chat_ids(chat)
        except TemplateError as error:
            raise BadChat(str(error)) from error

    def begin(self) -> Replies:
        return Generation(self.policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceLoader:
    """Loads registered versions."""

    device: str = "cpu"

    def __call__(self, version: Version) -> Voice:
        """Check the bytes, load them and say one word, so that the first user does not wait.

        Raises CorruptArtifact, or whatever a broken model raises.
        """
        path = verify_artifact(version.artifact_path, version.artifact_hash)
        policy = Policy.from_pretrained(path, device=self.device)
        policy.reply([WARM_UP], max_new_tokens=1)
        return PolicyVoice(policy)
