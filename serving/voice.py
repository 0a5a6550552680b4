"""A loaded policy as the engine uses it: it speaks, and knows how much fits.

The engine needs this little of a policy, so that another way of generating (a vLLM server, say)
is one class that meets `Voice`, and the engine is tested without weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from jinja2.exceptions import TemplateError

from models.artifacts import verify_artifact
from models.chat import Chat
from models.policy import Piece, Policy, Reply
from models.sampling import Dials
from models.versions import Version

WARM_UP: Chat = [{"role": "user", "content": "Hello"}]


class BadChat(ValueError):
    """The policy's chat template does not take this conversation."""


class Voice(Protocol):
    """What the engine needs of a policy. Called from one thread at a time."""

    @property
    def context_tokens(self) -> int:
        """The longest prompt and reply together."""

    def prompt_tokens(self, chat: Chat) -> int:
        """How long the chat is as a prompt. Raises BadChat if the template refuses it."""

    def generate(
        self,
        chats: Sequence[Chat],
        dials: Dials,
        seeds: Sequence[int] | None,
        *,
        stops: Sequence[Sequence[str]],
        in_pieces: bool,
        with_logprobs: bool,
        left: set[int],
    ) -> Iterator[list[tuple[int, Piece | Reply]]]:
        """Sample one reply to each chat; with one seed each, the same draws again.

        Yields what is ready after each token; a reply ends before the first of its row's stop
        sequences. Rows in `left`, which grows meanwhile, end at once and without a reply.
        """


@dataclass(frozen=True, slots=True)
class PolicyVoice:
    """A `models.policy.Policy` in this process."""

    policy: Policy

    @property
    def context_tokens(self) -> int:
        return self.policy.context_tokens

    def prompt_tokens(self, chat: Chat) -> int:
        try:
            return self.policy.prompt_tokens(chat)
        except TemplateError as error:
            raise BadChat(str(error)) from error

    def generate(
        self,
        chats: Sequence[Chat],
        dials: Dials,
        seeds: Sequence[int] | None,
        *,
        stops: Sequence[Sequence[str]],
        in_pieces: bool,
        with_logprobs: bool,
        left: set[int],
    ) -> Iterator[list[tuple[int, Piece | Reply]]]:
        return self.policy.generate(
            chats,
            dials,
            seeds,
            stops=stops,
            in_pieces=in_pieces,
            with_logprobs=with_logprobs,
            left=left,
        )


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
