"""From a request in any of OpenAI's shapes to an exchange: who answers it, and with what settings.

There is one way for all of them, so that whoever asks in another shape gets the same version, is
the same user and is learned from in the same manner.
"""

import time
from typing import TypeVar

from starlette.requests import Request

from models.chat import Chat
from serving.batcher import Ask
from serving.callers import caller_of, why_not_learned
from serving.config import ServingConfig
from serving.context import AppContext
from serving.errors import BadRequest
from serving.exchange import Exchange, check_recordable
from serving.heeded import Reader
from serving.middleware import checked, ignored_paths, read_json, require_key
from serving.pseudonyms import ANONYMOUS
from serving.schemas import AnswerRequest
from serving.wanted import Wanted
from streams.events import new_id

AskedT = TypeVar("AskedT", bound=AnswerRequest)


async def read_exchange(
    context: AppContext, request: Request, kind: type[AskedT], heeded: Reader, prefix: str
) -> tuple[AskedT, Exchange]:
    """Read a request of this kind and find who answers it; `prefix` begins the answer's id.

    `heeded` names what in it is not honoured. Raises an ApiError saying what is wrong with it.
    """
    require_key(request, context.config.api_keys)
    body = await read_json(request, context.config)
    asked = checked(kind, body)
    paths = list(dict.fromkeys(heeded(body, "")))
    unknown = [path for path in paths if path in (asked.model_extra or {})]
    unsupported = [path for path in paths if path not in unknown]
    warnings = ignored_paths(request, unknown, unsupported, context.config)
    wanted = asked.wanted()
    _check_size(wanted, context.config)
    max_tokens = wanted.max_tokens or context.config.completion_tokens
    if max_tokens > context.config.completion_tokens_max:
        warnings.append(f"{wanted.tokens_param} cut to {context.config.completion_tokens_max}")
    response_id = f"{prefix}{new_id()}"
    caller = caller_of(context, request, (asked.safety_identifier, asked.user), wanted.metadata)
    metadata, prompt = wanted.metadata, wanted.prompts[0]
    exchange = Exchange(
        wanted=wanted,
        # A request by nobody in particular is a unit of its own: shares hold, nothing is sticky.
        assignment=await context.engine.resolve(wanted.model, caller.user_id or response_id),
        asks=tuple(_ask_of(wanted, prompt, context.config) for prompt in wanted.prompts),
        response_id=response_id,
        caller=caller,
        not_learned=why_not_learned(request, metadata, prompt, context.config),
        created=int(time.time()),
        warnings=tuple(warnings),
        feedback_token=""
        if context.tokens is None
        else context.tokens.give(response_id, caller.user_id or ANONYMOUS, context.now()),
    )
    check_recordable(context, exchange)
    return asked, exchange


def _ask_of(wanted: Wanted, prompt: Chat, config: ServingConfig) -> Ask:
    return Ask(
        chat=prompt,
        max_new_tokens=min(
            wanted.max_tokens or config.completion_tokens, config.completion_tokens_max
        ),
        temperature=config.temperature if wanted.temperature is None else wanted.temperature,
        top_p=config.top_p if wanted.top_p is None else wanted.top_p,
        presence_penalty=wanted.presence_penalty,
        frequency_penalty=wanted.frequency_penalty,
        num_top=wanted.num_top,
        seed=wanted.seed,
        num_choices=wanted.num_tries,
        stops=wanted.stops,
    )


def _check_size(wanted: Wanted, config: ServingConfig) -> None:
    """Raises BadRequest for more than is read or given at once."""
    num_messages = max(map(len, wanted.prompts))
    if num_messages > config.messages_max:
        raise BadRequest(
            f"{wanted.param} must be at most {config.messages_max}, got {num_messages}",
            param=wanted.param,
            code="invalid_value",
        )
    num_choices = wanted.num_tries * len(wanted.prompts)
    if num_choices > config.choices_max:
        raise BadRequest(
            f"n must be at most {config.choices_max}, got {num_choices}"
            if len(wanted.prompts) == 1
            else f"at most {config.choices_max} answers are given at once, n for each prompt; "
            f"{num_choices} are asked for",
            param="n",
            code="invalid_value",
        )
    num_chars = sum(len(turn["content"]) for prompt in wanted.prompts for turn in prompt)
    if num_chars > config.prompt_chars_max:
        raise BadRequest(
            f"{wanted.param} of {num_chars} characters exceed this model's maximum context length:"
            f" at most {config.prompt_chars_max} characters are read",
            param=wanted.param,
            code="context_length_exceeded",
        )
