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
from models.policy import Policy, Reply
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

    def reply(
        self,
        chats: Sequence[Chat],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int] | None,
    ) -> list[Reply]:
        """Sample one reply to each chat; with one seed each, the same draws again."""

    def stream(
        self,
        chat: Chat,
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int | None,
    ) -> Iterator[str | Reply]:
        """Sample one reply in pieces, then give it whole."""


@dataclass(frozen=True, slots=True)
class PolicyVoice:
    """A `models.policy.Policy` in this process."""

    policy: Policy

    @property
    def context_tokens(self) -> int:
        return self.policy.context_tokens

    def prompt_tokens(self, chat: Chat) -> int:
        tokenizer = self.policy.tokenizer
        try:
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise BadChat(str(error)) from error
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def reply(
        self,
        chats: Sequence[Chat],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int] | None,
    ) -> list[Reply]:
        return self.policy.reply(
            chats,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seeds,
            batch_size=max(1, len(chats)),
        )

    def stream(
        self,
        chat: Chat,
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seed: int | None,
    ) -> Iterator[str | Reply]:
        return self.policy.stream(
            chat, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed
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
        voice = PolicyVoice(Policy.from_pretrained(path, device=self.device))
        voice.reply([WARM_UP], max_new_tokens=1, temperature=1.0, top_p=1.0, seeds=None)
        return voice
