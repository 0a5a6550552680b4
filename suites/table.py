"""The suites: one row and one file under suites/clients each. To add one, add both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["python", "node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Checks of one client against a running rluf, in an environment of the client's own."""

    name: str
    file: str
    """Under suites/clients."""
    covers: str
    """What is checked, for the table of docs/clients.md."""
    not_served: str = ""
    """What the client can do and rluf does not, for the same."""
    kind: Kind = "python"
    packages: tuple[str, ...] = ()
    """What is installed for it, from PyPI or npm; the first one's version is reported."""
    environment: str = ""
    """The suite whose environment is used too; empty: one of its own."""
    distribution: str = ""
    """Where the client is part of rluf's own environment: its name there."""
    programs: tuple[str, ...] = ()
    """Programs that must be on the path, with the name that is reported first."""
    version: tuple[str, ...] = ()
    """Command that prints the version, where the client is a program."""
    needs_server: bool = True
    limit_s: float = 600.0
    """Only a suite that hangs takes so long."""


NO_TOOLS = "tools and structured output: warned of, refused in strict mode"

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name="openai-python",
            covers=(
                "chat, streams, async, usage, logprobs, `n`, seeds, stop, penalties, errors, "
                "retries, time-outs, models, responses, completions, feedback by the id seen"
            ),
            not_served="tools, structured output, pictures, embeddings, stored responses",
            file="openai_python.py",
            packages=("openai",),
        ),
        Suite(
            name="openai-node",
            covers="the same, in JavaScript",
            not_served=NO_TOOLS,
            file="openai_node.mjs",
            kind="node",
            packages=("openai",),
        ),
        Suite(
            name="langchain",
            covers="`ChatOpenAI` by both APIs, `OpenAI`, streams, async, batches, chains, feedback",
            not_served=NO_TOOLS,
            file="langchain_openai_suite.py",
            packages=("langchain-openai",),
        ),
        Suite(
            name="litellm",
            covers=(
                "`completion`, `acompletion`, `text_completion`, `responses`, its own errors, "
                "feedback"
            ),
            not_served=NO_TOOLS,
            file="litellm_sdk.py",
            packages=("litellm[proxy]", "openai"),
        ),
        Suite(
            name="litellm-proxy",
            covers=(
                "a gateway with keys and model names of its own: answers, streams, feedback "
                "by the id that its clients see"
            ),
            file="litellm_proxy.py",
            packages=("litellm[proxy]", "openai"),
            environment="litellm",
        ),
        Suite(
            name="llamaindex",
            covers="`OpenAILike` by chat and by completions, streams, async, logprobs, feedback",
            not_served=NO_TOOLS,
            file="llamaindex_suite.py",
            packages=("llama-index-llms-openai-like",),
        ),
        Suite(
            name="instructor",
            covers="that structured output never passes for done",
            not_served="structured output",
            file="instructor_suite.py",
            packages=("instructor",),
        ),
        Suite(
            name="schemathesis",
            covers="every operation of the OpenAPI document as served, all checks",
            file="schemathesis_suite.py",
            packages=("schemathesis",),
        ),
        Suite(
            name="cloudevents-python",
            covers=(
                "structured and binary mode, `data_base64`, extensions, both interfaces of "
                "the SDK, refusals"
            ),
            file="cloudevents_python.py",
            packages=("cloudevents", "httpx"),
        ),
        Suite(
            name="cloudevents-js",
            covers="structured and binary mode, bytes as data, retries, refusals",
            file="cloudevents_js.mjs",
            kind="node",
            packages=("cloudevents",),
        ),
        Suite(
            name="kcat",
            covers=(
                "topics read; events written in both modes and by three codecs; dead letters "
                "by reason"
            ),
            file="kcat_suite.py",
            programs=("kcat",),
            version=("kcat", "-V"),
        ),
        Suite(
            name="promtool",
            covers="meters of API and worker, alert rules and their tests, configuration",
            file="promtool_suite.py",
            programs=("promtool",),
            version=("promtool", "--version"),
        ),
        Suite(
            name="pytest-alembic",
            covers="its four tests and `downgrade_leaves_no_trace`, on SQLite and PostgreSQL",
            file="pytest_alembic_suite.py",
            packages=("pytest-alembic", "pytest<9.2", "psycopg[binary]", "sqlalchemy<2.2"),
            needs_server=False,
        ),
        Suite(
            name="open-webui",
            covers=(
                "requests shaped like its own: users in headers, its ids, titles, tags and "
                "follow-ups"
            ),
            file="open_webui.py",
        ),
        Suite(
            name="librechat",
            covers="requests shaped like its own: parameters, titles, history",
            file="librechat.py",
        ),
        Suite(
            name="nginx",
            covers="a path prefix: page, links, redirects, OpenAPI; streams unbuffered",
            file="nginx_suite.py",
            programs=("nginx",),
            version=("nginx", "-v"),
        ),
        Suite(
            name="feast",
            covers="command line and SDK: online, historical, materialize, apply",
            file="feast_suite.py",
            distribution="feast",
        ),
    )
}
