"""Who asks, under which names, and whether the answer is one to a person.

A front end that holds one key says in headers of its own whose request it passes on. They can be
forged by whoever reaches the API, so only those that the settings name are read. The user is, in
this order: the trusted header's, `safety_identifier`, `user`, the API key. The others are kept as
the user's other names: a reaction under any of them is the user's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from models.chat import Chat
from serving.config import ServingConfig
from serving.context import AppContext
from serving.errors import BadRequest, seen
from serving.middleware import key_unit
from serving.pseudonyms import ANONYMOUS
from streams.rules import ID_ALLOWED, is_id

LEARNABLE_HEADER = "x-rluf-learnable"
LEARNABLE = "learnable"
MESSAGE_ID = "message_id"
"""Keys of a request's metadata."""
SWITCH: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
UNFILLED = frozenset(("null", "undefined", "none"))
"""What front ends send for a user or a conversation that they do not have."""
SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, as it is stored."""

    user_id: str
    """Empty: nobody in particular."""
    aliases: tuple[str, ...]
    client_id: str
    """Of the API key; empty: none was borne."""
    conversation_id: str
    message_id: str
    """What the front end calls the conversation and the answer; empty: not known."""


def caller_of(
    context: AppContext, request: Request, named: Sequence[str | None], metadata: Mapping[str, str]
) -> Caller:
    """Read a request's names; `named` are those in its body, the more telling first.

    Raises BadRequest for a trusted header that is no name.
    """
    config = context.config
    client_id = context.user(key_unit(request))
    told = (trusted(request, config.user_header), *named)
    users = [context.user(name) for name in told if name]
    user_id, aliases = names_of(users or [client_id])
    return Caller(
        user_id=user_id,
        aliases=aliases,
        client_id=client_id,
        conversation_id=trusted(request, config.conversation_header),
        message_id=trusted(request, config.message_header) or metadata.get(MESSAGE_ID, ""),
    )


def names_of(users: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Give the user of these names, the more telling first, and the user's other names.

    "anonymous" is nobody's name: were it somebody's, everybody's without one would be theirs.
    """
    names = [name for name in dict.fromkeys(users) if name != ANONYMOUS]
    return (names[0], tuple(names[1:])) if names else (users[0], ())


def trusted(request: Request, header: str) -> str:
    """Give the id in a header that the settings name; empty where there is none.

    Raises BadRequest for several, of which one may be a client's own, and for what is no id. What a
    front end failed to fill in (`{{NAME}}`, `undefined`) names nobody.
    """
    values = request.headers.getlist(header) if header else []
    if not values:
        return ""
    raw = values[0].strip().encode("latin-1")
    try:
        value = raw.decode()
    except UnicodeDecodeError:
        value = raw.decode("latin-1")
    is_template = value.startswith("{{") and value.endswith("}}")
    if not value or is_template or value.lower() in UNFILLED:
        return ""
    if len(values) > 1 or not is_id(value):
        found = seen(value) if len(values) == 1 else f"{len(values)} of them"
        raise BadRequest(f"{header} {ID_ALLOWED}, once; got {found}", param=header)
    return value


def why_not_learned(
    request: Request, metadata: Mapping[str, str], prompt: Chat, config: ServingConfig
) -> str:
    """Say what marks a request as none of a person's: "header", "metadata", "prompt"; else empty.

    The header counts before the metadata, both before the prompt's first words. Raises BadRequest
    for a mark that is neither true nor false.
    """
    for source, field, told in (
        ("header", LEARNABLE_HEADER, request.headers.get(LEARNABLE_HEADER)),
        ("metadata", f"metadata.{LEARNABLE}", metadata.get(LEARNABLE)),
    ):
        if told is None:
            continue
        is_learnable = SWITCH.get(told.strip().lower())
        if is_learnable is None:
            raise BadRequest(f"{field} must be true or false, got {seen(told)}", param=field)
        return "" if is_learnable else source
    return "prompt" if is_background(prompt, config.background_prompts) else ""


def is_background(prompt: Chat, beginnings: Sequence[str]) -> bool:
    """Whether a system prompt, or what was said last, begins like this, whatever the case and the
    white space."""
    wanted = tuple(" ".join(text.split()).casefold() for text in beginnings)
    chars_max = 4 * max(map(len, wanted), default=0)
    texts = [turn["content"] for turn in prompt if turn["role"] in SYSTEM_ROLES]
    texts += [turn["content"] for turn in prompt[-1:]]
    return any(
        " ".join(text.lstrip()[:chars_max].split()).casefold().startswith(wanted) for text in texts
    )
