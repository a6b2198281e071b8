"""Which errors are the machine's and not those of what runs on it: a full disk, too many open files, lost data."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from bench.common.errors import UsageError

MACHINE_ERROR = "machine_error"  # the status of a run that the machine failed; it is run again next time
_CODES = (
    errno.EAGAIN,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOLCK,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EROFS,
    errno.ESTALE,
)
# what raises without a code says it as the system does, or as `threading` does
_TEXTS = (*(os.strerror(code) for code in _CODES if code != errno.ENOMEM), "can't start new thread")


class LostDataError(UsageError):
    """Files of a data set cannot be read where the plan could read them."""


def is_machine_fault(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that the machine has failed."""
    return any(_of_machine(each) for each in _causes(error))


def _of_machine(error: BaseException) -> bool:
    if isinstance(error, LostDataError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _CODES
    return isinstance(error, OSError | RuntimeError) and any(text in str(error) for text in _TEXTS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        yield each
        each = each.__cause__
