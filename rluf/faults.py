"""Which faults are somebody's mistake or somebody's outage, and the exit code of each.

What is not listed is a mistake of ours and keeps its traceback.
"""

from __future__ import annotations

import errno

from models.errors import Conflict, CorruptRegistry, ModelsError, NotFound
from models.errors import Unavailable as RegistryUnavailable
from rluf.child import BadHome
from rluf.demo.findings import DemoFailed
from rluf.local import AlreadyUp, ChildFailed, PortTaken
from rluf.settings import BadSettings
from streams.errors import BadEvent, CannotStart, Unavailable

FAULT, USAGE, UNAVAILABLE = 1, 2, 4

EXIT_CODES: dict[type[Exception], int] = {
    BadSettings: USAGE,
    BadEvent: USAGE,
    FileNotFoundError: USAGE,
    IsADirectoryError: USAGE,
    NotADirectoryError: USAGE,
    PermissionError: USAGE,
    ValueError: USAGE,
    NotFound: USAGE,
    CorruptRegistry: FAULT,
    RegistryUnavailable: UNAVAILABLE,
    Conflict: UNAVAILABLE,
    ModelsError: FAULT,
    ChildFailed: FAULT,
    DemoFailed: FAULT,
    AlreadyUp: UNAVAILABLE,
    BadHome: FAULT,
    PortTaken: UNAVAILABLE,
    CannotStart: UNAVAILABLE,
    Unavailable: UNAVAILABLE,
}


def exit_code_of(fault: Exception) -> int | None:
    """Give the exit code of a known fault, or None where the traceback should be shown."""
    for kind, code in EXIT_CODES.items():
        if isinstance(fault, kind):
            return code
    if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return UNAVAILABLE
    return None
