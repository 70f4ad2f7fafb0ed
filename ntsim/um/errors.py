"""How a failed call looks to an app: the exception `error`, and the thread's last error."""

from __future__ import annotations

import errno
from typing import Any

from ntsim.abi.winerror import status_to_win32, strerror

_ERRNO = {2: errno.ENOENT, 3: errno.ENOENT, 5: errno.EACCES, 6: errno.EBADF, 8: errno.ENOMEM}


class error(OSError):
    """A Win32 call failed: pywin32's `pywintypes.error`.

    `winerror` is the code (GetLastError), `funcname` the function, `strerror` the system's text;
    the three are `args` too.
    """

    ntsim_caller_error = True

    def __init__(self, winerror: int, funcname: str, text: str) -> None:
        super().__init__()
        self.args = (winerror, funcname, text)
        self.winerror, self.funcname, self.strerror = winerror, funcname, text
        self.errno = _ERRNO.get(winerror, errno.EINVAL)

    def __str__(self) -> str:
        return str(self.args)

    def __reduce__(self) -> Any:
        return type(self), self.args


error.__module__ = "ntsim.win32"


def win32_error(user: Any, funcname: str, code: int) -> error:
    """The exception for a Win32 error code, which becomes the thread's last error."""
    user.last_error = code
    return error(code, funcname, strerror(code))


def status_error(user: Any, funcname: str, status: int) -> error:
    """The exception for an NTSTATUS, translated as KERNELBASE does."""
    return win32_error(user, funcname, status_to_win32(status))
