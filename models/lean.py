"""Import transformers' models and TRL without what we never use of them.

Where scikit-learn and SciPy are installed, transformers imports both for every text model, only to
tune assisted decoding and to match boxes in pictures; where Triton is installed, torch imports it
for kernels that need a GPU. Left out during that import, a process is 140 MB smaller (measured with
transformers 5 and torch 2 on Linux) and is ready a second sooner. Whoever imports them later, to
fit a calibration for instance, gets them as ever; transformers takes them as not installed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from transformers.utils.import_utils import (
    is_scipy_available,
    is_sklearn_available,
    is_triton_available,
)

NEVER_USED = {"scipy": is_scipy_available, "sklearn": is_sklearn_available}
NEEDS_GPU = {"triton": is_triton_available}
"""Module to the check of transformers that remembers whether it is installed."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Wrap imports of transformers' models and TRL in this. What is imported already stays."""
    unused = NEVER_USED if torch.cuda.is_available() else NEVER_USED | NEEDS_GPU
    modules = cast("dict[str, object]", sys.modules)
    hidden = [name for name in unused if name not in modules]
    modules.update(dict.fromkeys(hidden))  # None: Python says that there is no such module.
    try:
        for name in hidden:
            unused[name].cache_clear()
            unused[name]()
        yield
    finally:
        for name in hidden:
            if modules.get(name, name) is None:
                del modules[name]
