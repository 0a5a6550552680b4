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


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(name="openai-python", file="openai_python.py", packages=("openai",)),
        Suite(name="openai-node", file="openai_node.mjs", kind="node", packages=("openai",)),
        Suite(name="langchain", file="langchain_openai_suite.py", packages=("langchain-openai",)),
        Suite(name="litellm", file="litellm_sdk.py", packages=("litellm[proxy]", "openai")),
        Suite(
            name="litellm-proxy",
            file="litellm_proxy.py",
            packages=("litellm[proxy]", "openai"),
            environment="litellm",
        ),
        Suite(
            name="llamaindex",
            file="llamaindex_suite.py",
            packages=("llama-index-llms-openai-like",),
        ),
        Suite(name="instructor", file="instructor_suite.py", packages=("instructor",)),
        Suite(name="schemathesis", file="schemathesis_suite.py", packages=("schemathesis",)),
        Suite(
            name="cloudevents-python",
            file="cloudevents_python.py",
            packages=("cloudevents", "httpx"),
        ),
        Suite(
            name="cloudevents-js", file="cloudevents_js.mjs", kind="node", packages=("cloudevents",)
        ),
        Suite(name="kcat", file="kcat_suite.py", programs=("kcat",), version=("kcat", "-V")),
        Suite(
            name="promtool",
            file="promtool_suite.py",
            programs=("promtool",),
            version=("promtool", "--version"),
        ),
        Suite(
            name="pytest-alembic",
            file="pytest_alembic_suite.py",
            packages=("pytest-alembic", "pytest<9.2", "psycopg[binary]", "sqlalchemy<2.2"),
            needs_server=False,
        ),
        Suite(name="feast", file="feast_suite.py", distribution="feast"),
        Suite(name="open-webui", file="open_webui.py"),
        Suite(name="librechat", file="librechat.py"),
        Suite(name="nginx", file="nginx_suite.py", programs=("nginx",), version=("nginx", "-v")),
    )
}
