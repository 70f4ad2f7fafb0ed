"""Structured exceptions, as kernel code raises and drivers catch them."""

from __future__ import annotations

from typing import Any

PYTHON_ERROR = 0xE050_7945
"""Exception code of an uncaught Python error in a driver."""


EXCEPTION_NONCONTINUABLE = 1
"""Of ExceptionFlags."""


class StructuredException(Exception):
    """An exception record in flight; `except StructuredException as e: e.ExceptionCode`.

    `ExceptionInformation` are the record's parameters (for an access violation: 0 read, 1 write or
    8 execute; then the address). `ExceptionAddress` is where it was raised. `stack` holds the
    frames of that moment for the report, `error` the Python error behind code 0xE0507945. `passed`
    is what the host keeps of compiled code that the exception went through unhandled, `registers`
    the bytes of the CONTEXT it was raised in if that was compiled code. `ExceptionFlags` bit 0:
    the code cannot go on where it was raised. `ExceptionRecord` is the address of the record of an
    exception that this one is about, `record` that of the caller's own record; 0 if there is none.
    """

    def __init__(
        self,
        ExceptionCode: int,
        ExceptionInformation: tuple[int, ...] = (),
        ExceptionAddress: int = 0,
        reason: str = "",
    ) -> None:
        super().__init__(ExceptionCode, ExceptionInformation, ExceptionAddress, reason)
        self.ExceptionCode = ExceptionCode
        self.ExceptionInformation = ExceptionInformation
        self.ExceptionAddress = ExceptionAddress
        self.reason = reason
        self.stack: Any = None
        self.error: BaseException | None = None
        self.passed: Any = None
        self.ExceptionFlags = 0
        self.registers: Any = None
        self.ExceptionRecord = 0
        self.record = 0

    def __str__(self) -> str:
        text = f"exception {self.ExceptionCode:#010x}"
        return f"{text}: {self.reason}" if self.reason else text
