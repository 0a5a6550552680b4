"""Dials of the serving room."""

import math
import re
from dataclasses import dataclass, field

from streams.rules import ID_ALLOWED, is_id
from streams.secret import SECRET

HOST = re.compile(r"\*|\.?[a-z0-9._-]+|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*", re.IGNORECASE)
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s@]+", re.IGNORECASE)
HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]*", re.IGNORECASE)
SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "x-api-key")
ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """How the API answers, how much it takes on at once, and whom it lets in."""

    host: str = "127.0.0.1"
    """Address to listen on. The default is reached from this machine only: there is no
    authentication until api_keys are set."""
    port: int = 8000
    """Port to listen on; 0 lets the operating system choose a free one."""
    model: str = "chat"
    """The registered policy that the API offers; requests name it, or a version of it."""
    source: str = "/serving"
    """CloudEvents source of the events that this API produces; (source, id) must be unique."""

    root_path: str = ""
    """Path under which a proxy offers the API, such as "/rluf", whether the proxy takes it off
    before it asks or leaves it."""
    hosts: tuple[str, ...] = ()
    """Names under which the API may be asked for (the request's Host, without a port), beside
    loopback names and `host`; a `host` of 0.0.0.0 or :: stands for every IP address. ".example.com"
    stands for every name below it, "*" for any: then a name of an attacker's that points here makes
    the attacker's page one of ours (DNS rebinding). Others are answered 421."""
    origins: tuple[str, ...] = ()
    """Pages, as scheme://host:port, that may have browsers change something here beside those that
    the API itself serves, such as one behind a proxy that rewrites Host. Others are answered 403;
    programs that are no browsers send no Origin and are not asked."""
    feedback_origins: tuple[str, ...] = ()
    """Pages that may send feedback from a browser: they get CORS headers for /v1/feedback alone.
    See docs/frontends.md for how no key needs to lie in the page."""
    feedback_token_s: float = 0.0
    """How long the feedback token of an answer holds, in seconds: header x-rluf-feedback-token.
    Sent as the bearer key, it lets its user's feedback on its answer in. 0: answers bear none, and
    none is taken."""
    feedback_key: str = ""
    """File of the keys that sign these tokens, 64 hexadecimal digits a line: the first signs, the
    others are still taken. Empty: feedback.key in the home, made when it is not there. Every API of
    one deployment needs the same."""

    api_keys: tuple[str, ...] = field(default=(), repr=False, metadata=SECRET)
    """Bearer keys that are let in to /v1; empty lets everyone in (laptop, trusted network)."""
    admin_keys: tuple[str, ...] = field(default=(), repr=False, metadata=SECRET)
    """Bearer keys for /v1/admin; without one the admin endpoints do not exist."""
    pseudonymise: bool = True
    """Store a keyed hash of each user id instead of the id; see docs/privacy.md."""
    pseudonym_key: str = ""
    """File of the key, 64 hexadecimal digits; empty: pseudonym.key in the home, made when it is
    not there. Every API of one deployment needs the same."""
    network_header: str = ""
    """Request header in which a proxy of yours puts the client's address, such as
    "x-forwarded-for"; a pseudonym of its network (/24, /48) then goes with each reaction, for the
    guard. Empty: networks are not known. Needs pseudonymise."""
    user_header: str = ""
    """Request header in which a front end that you trust names the user whose request it passes on,
    such as "X-OpenWebUI-User-Id". It goes before what the body says, and users are given to arms by
    it. Set it only where nobody else reaches the API: a header can be forged. Empty: not read."""
    conversation_header: str = ""
    """The same for the conversation, such as "X-OpenWebUI-Chat-Id"; `metadata.conversation_id` goes
    before it."""
    message_header: str = ""
    """The same for the answer's own id, such as "X-OpenWebUI-Message-Id": feedback may then name
    the answer by it. Any client may give one as `metadata.message_id`."""
    background_prompts: tuple[str, ...] = (
        "### Task: Generate",
        "### Task: Suggest",
        "### Task: Analyze the chat history",
        "### Task: You are an autocompletion system",
        "Provide a concise, 5-word-or-less title",
        "Analyze this conversation and provide: 1. The detected language",
        "You are a professional conversation summarizer",
    )
    """First words of a system prompt, or of what was said last, by which front ends ask for titles,
    tags, follow-up questions and the like; case and white space do not matter. Such answers are no
    answers to a person and are recorded as `learnable: false`. The default knows Open WebUI,
    LibreChat and LobeChat as they come. A request says so itself by `x-rluf-learnable: false` or
    `metadata.learnable`."""
    exposures_remembered_max: int = 50_000
    """Latest exposures by whose memory the answer to feedback says whether it will teach anything
    (about 400 bytes each)."""
    strict: bool = False
    """Refuse unknown and unsupported request fields (400) instead of ignoring them with a
    warning header. One request can ask for it by the header `x-rluf-strict: true`."""

    sse_comments: bool = True
    """Tell in a stream, as a comment line before a choice's last event, whether it was recorded.
    Some clients trip over comments; one request can leave them out by the header
    `x-rluf-sse-comments: false`."""

    body_bytes_max: int = 1_000_000
    """Largest request body; more is answered 413. The same as the largest event."""
    prompt_chars_max: int = 200_000
    """Longest prompt in characters that is tokenised at all; a cheap guard in front of the
    exact check against the policy's context."""
    messages_max: int = 1_000
    """Most messages in one request."""
    choices_max: int = 8
    """Largest `n`."""
    completion_tokens: int = 96
    """Reply length where the request names none, in tokens."""
    completion_tokens_max: int = 1_024
    """Longest reply; a request for more is cut to this, with a warning header."""
    temperature: float = 1.0
    """Sampling temperature where the request names none (OpenAI's default)."""
    top_p: float = 1.0
    """Nucleus mass where the request names none (OpenAI's default)."""
    device: str = "cpu"
    """Where policies are loaded: "cpu", "cuda", "cuda:1"."""

    poll_interval_s: float = 1.0
    """How often the registry is asked which arms are live."""
    reload_interval_s: float = 30.0
    """How long a version that could not be loaded is left alone before it is tried again."""
    pinned_max: int = 2
    """Versions kept loaded beside the live arms for requests that name a version."""
    batch_max: int = 64
    """Most replies of one version generated together."""
    stream_pieces: int = 4
    """Tokens that the replies of a version advance before the next version's turn, and before
    others may join them."""
    queue_max: int = 512
    """Requests waiting for the engine; more are answered 429 with retry-after."""
    reply_timeout_s: float = 60.0
    """Longest wait for a reply; then 503 with retry-after."""
    retry_after_s: int = 1
    """What `retry-after` says on 429 and 503, in seconds."""

    ack_timeout_s: float = 5.0
    """How long an answer waits for the broker to acknowledge its event."""
    ack_timeout_down_s: float = 0.25
    """The same while the broker is known to be away, so that users are not kept waiting."""
    pending_events_max: int = 10_000
    """Events handed to the producer and not yet acknowledged; beyond it they are not sent."""
    feedback_inflight_max: int = 2_000
    """Feedback calls waiting for the broker at the same time; more are answered 429."""
    idempotency_keys_max: int = 100_000
    """Idempotency keys remembered, the most recent ones (about 300 bytes each)."""
    idempotency_window_s: float = 86_400.0
    """How long a key is remembered."""
    idempotency_required: bool = False
    """Answer 400 to feedback without an Idempotency-Key."""

    score_chats_max: int = 256
    """Most chats in one call of /v1/score."""
    status_cache_s: float = 2.0
    """How long a computed /v1/status is served again; while it takes longer than a fifth of
    this to compute, it is kept five times as long as it took."""
    worker_metrics_url: str = field(default="", repr=False)
    """The worker's /metrics, such as http://127.0.0.1:9101/metrics; the page then shows how far it
    is behind and what it dropped as duplicates. Empty: the page goes without."""
    history_max: int = 20
    """Rows of verdicts and history in /v1/status."""

    def __post_init__(self) -> None:
        if not is_id(self.source):
            raise ValueError(f"source {ID_ALLOWED}, got {self.source[:80]!r}")
        if not ROOT_PATH.fullmatch(self.root_path) or self.root_path.split("/")[1:2] == ["v1"]:
            raise ValueError(
                f"root_path is {self.root_path!r}, must be empty or a path such as /rluf, without a"
                " last slash and not under the API's own /v1"
            )
        if not 0 <= self.feedback_token_s < math.inf:
            raise ValueError(f"feedback_token_s is {self.feedback_token_s}, must not be negative")
        if any(not text.strip() for text in self.background_prompts):
            raise ValueError("background_prompts has an empty text, which every prompt begins with")
        for header in (self.user_header, self.conversation_header, self.message_header):
            if not HEADER.fullmatch(header):
                raise ValueError(f"{header!r} must be empty or the name of a request header")
            if header.lower() in SECRET_HEADERS:
                raise ValueError(f"{header!r} must be a header that holds no secret")
        for name in self.hosts:
            if not HOST.fullmatch(name):
                raise ValueError(f"hosts has {name!r}, must be names such as api.example.com")
        for name in (*self.origins, *self.feedback_origins):
            if not ORIGIN.fullmatch(name):
                raise ValueError(
                    f"origins have {name!r}, must be such as https://chat.example.com, with a"
                    " scheme and without a path"
                )
