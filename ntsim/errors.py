"""What a run of ntsim can end in, as exceptions.

Three kinds of wrong: a driver that breaks a rule ends in `BugCheck` or `Hang`; a caller who asks
for something impossible gets an error that says what to do instead; ntsim's own mistakes are plain
assertions and never appear here.
"""

from collections.abc import Sequence

from ntsim.abi.bugcodes import name_of


class Error(Exception):
    """Base of every error that ntsim raises for its callers."""


class BugCheck(Error):
    """The simulated system stopped: KeBugCheckEx was reached."""

    def __init__(
        self, code: int, parameters: Sequence[int], processor: int = 0, irql: int = 0
    ) -> None:
        assert len(parameters) == 4, f"a bug check has four parameters, not {len(parameters)}"
        super().__init__(code, tuple(parameters), processor, irql)
        self.code = code
        self.name = name_of(code)
        self.parameters: tuple[int, int, int, int] = tuple(parameters)  # type: ignore[assignment]
        self.processor = processor
        self.irql = irql

    def __str__(self) -> str:
        values = ", ".join(_number(value) for value in self.parameters)
        level = self.irql if self.irql < 16 else f"{self.irql:#x}"  # 0xff: fault with IF clear
        where = f"processor {self.processor}, IRQL {level}"
        return f"{self.name} ({self.code:x}): {values} ({where})"


class Hang(Error):
    """Nothing can run any more, or nothing ends: `waits` has one line for each waiting thread."""

    def __init__(self, waits: Sequence[str] = (), reason: str = "nothing can run any more") -> None:
        super().__init__(tuple(waits), reason)
        self.waits = tuple(waits)
        self.reason = reason

    def __str__(self) -> str:
        return "\n  ".join([f"hang: {self.reason}", *self.waits])


class DriverLoadError(Error):
    """A driver did not load: its file is unusable or DriverEntry returned an error status.

    `file` and `line` are where, if that is known; `message` begins with them.
    """

    def __init__(self, message: str, status: int, file: str = "", line: int = 0) -> None:
        super().__init__(message, status, file, line)
        self.message = message
        self.status = status
        self.file, self.line = file, line

    def __str__(self) -> str:
        return f"{self.message} (NTSTATUS 0x{self.status:08x})"


class UnmodelledRoutine(Error):
    """The driver called a routine that Windows has and ntsim does not model (yet).

    `file` and `line` are where it was called, if that is known.
    """

    def __init__(self, routine: str, prototype: str = "") -> None:
        super().__init__(routine, prototype)
        self.routine = routine
        self.prototype = prototype
        self.file, self.line = "", 0

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        prototype = f"\n  {self.prototype}" if self.prototype else ""
        return f"{where}{self.routine} is known to Windows but not modelled by ntsim{prototype}"


class UnmodelledInstruction(UnmodelledRoutine):
    """Compiled code came to an instruction that the engine does not execute, or touched something
    that is not there: `routine` is the place and the instruction, `prototype` the reason."""

    def __str__(self) -> str:
        return f"{self.routine}: ntsim cannot go on here\n  {self.prototype}"


class UnmodelledCode(UnmodelledRoutine):
    """The driver called an address in a Python driver's image where no routine begins."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"{where}{self.routine} is no routine of the Python driver there"


class ScheduleError(Error):
    """A schedule string is malformed, or contradicts the machine it is given to."""


class ConfigurationError(Error):
    """An argument, option or file given to ntsim cannot work; the message says what can."""


class MachineClosed(BaseException):
    """Thrown into code that is still on a stack of a closed machine, so that it ends.

    A BaseException: a driver's or an app's `except Exception` must not keep a dead machine alive.
    """

    def __str__(self) -> str:
        return "the machine has been closed; build a new ntsim.Machine to run more code"


def _number(value: int) -> str:
    """Addresses as 16 hexadecimal digits, as a debugger prints them; small values bare."""
    return f"{value:016x}" if value >> 32 else f"{value:x}"
