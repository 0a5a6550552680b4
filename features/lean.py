"""Import Feast without what we never use of it.

`import feast` imports torch if it is installed, only to offer `to_tensor`, and has typeguard
recompile each method of its classes. Left out, both during that import alone, it takes 1.5 s and
170 MB instead of 9 s and 630 MB (measured on two cores), in each process that asks for features.
It also turns every DeprecationWarning of the process on, makes a folder in /tmp and tells
prometheus_client by two environment variables to keep every meter of the process in files there;
all of that is undone.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

import prometheus_client.values  # noqa: F401 - it chooses memory or files when it is imported.
import typeguard

T = TypeVar("T")
TORCH_WRAPPER = "feast.torch_wrapper"
METER_VARIABLES = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR")


@contextmanager
def lean_imports() -> Iterator[None]:
    """Wrap the imports of Feast in this. It does nothing if Feast is imported already."""
    if "feast" in sys.modules:
        yield
        return
    typechecked = typeguard.typechecked
    feasts_own = [name for name in METER_VARIABLES if name not in os.environ]
    wrapper = ModuleType(TORCH_WRAPPER)
    wrapper.__dict__["get_torch"] = _no_torch
    sys.modules[TORCH_WRAPPER] = wrapper
    typeguard.__dict__["typechecked"] = _unchecked
    try:
        with warnings.catch_warnings():
            yield
    finally:
        typeguard.__dict__["typechecked"] = typechecked
        for name in feasts_own:
            os.environ.pop(name, None)


def _unchecked(target: T | None = None, **_settings: object) -> T | Callable[[T], T]:
    """Stands in for typeguard.typechecked, with and without arguments."""
    return (lambda inner: inner) if target is None else target


def _no_torch() -> ModuleType:
    raise ImportError("features answers in Arrow; tensors are made where models are")
