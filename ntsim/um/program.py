"""What a process runs: a file as `__main__`, or a callable; and what its end means.

The result of `main`, `sys.exit`, an uncaught error, an access violation: each becomes an exit code,
with a traceback of the app's own frames on stderr where Python would print one.
"""

from __future__ import annotations

import struct
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from ntsim.abi.ntstatus import status_name
from ntsim.host.modules import all_codes
from ntsim.nt.rtl.exception import StructuredException

if TYPE_CHECKING:
    from ntsim.um.process import UserProcess
    from ntsim.um.thread import UserThread

FAILURE = 1
_NTSIM = str(Path(__file__).resolve().parents[1])
_APP_ERRORS = (
    TypeError, AttributeError, ValueError, OverflowError, ImportError, EOFError, struct.error
)  # fmt: skip
"""What wrong arguments, a refused module or input() raise inside the calls of an app."""


class CallableProgram:
    """A Python function as an app. Its own `args` are positional arguments."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args
        name = getattr(function, "__name__", type(function).__name__)
        self.name = "app" if name == "<lambda>" else name
        self.codes = list(reachable_codes(function))

    def run(self, process: UserProcess) -> Any:
        """Call it: an int that it returns is the exit code. The answer to a question is not."""
        result = self.function(*self.args)
        return 0 if isinstance(result, bool) else result

    def adopt(self, process: UserProcess) -> None:
        """Let stacks name the function and the helpers of its module that it uses."""
        host, image = process.nt.host, process.image
        for code in self.codes:
            host.by_code[code] = image  # type: ignore[attr-defined]
            host.files.setdefault(code.co_filename, Path(code.co_filename).name)
            image.slot_of(code, code.co_qualname.replace(".<locals>", ""))
        if self.codes:
            image.path = self.codes[0].co_filename

    def disown(self, process: UserProcess) -> None:
        """The process has ended: its image's names go."""
        by_code = process.nt.host.by_code  # type: ignore[attr-defined]
        for code in self.codes:
            if by_code.get(code) is process.image:
                del by_code[code]


def reachable_codes(function: Any) -> Iterator[CodeType]:
    """The code of a function and of the functions of the same file that it names."""
    home = getattr(function, "__code__", None)
    waiting, seen = [function], set()
    while waiting:
        each = waiting.pop()
        code = getattr(each, "__code__", None)
        if code is None or home is None or code in seen or code.co_filename != home.co_filename:
            continue
        seen.add(code)
        yield from all_codes(code)
        space = getattr(each, "__globals__", {})
        cells = [c.cell_contents for c in getattr(each, "__closure__", None) or () if filled(c)]
        named = [space.get(name) for inner in all_codes(code) for name in inner.co_names]
        waiting += [found for found in (*cells, *named) if isinstance(found, FunctionType)]


def filled(cell: Any) -> bool:
    """Whether a closure's variable has a value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def run_to_exit_code(user: UserThread, work: Callable[[], Any]) -> int:
    """Run user-mode code; what its end is as an exit code. ntsim's own errors pass.

    On a closed machine nothing counts any more: MachineClosed, whatever handlers of an app do.
    """
    try:
        code = exit_code(work())
    except SystemExit as end:
        code = exit_code_of_sys_exit(user.process, end.code)
    except Exception as error:
        user.nt.il.check_closed()
        code = exit_code_of_error(user, error)
    user.nt.il.check_closed()
    return code


def exit_code_of_error(user: UserThread, error: Exception) -> int:
    """An uncaught error or exception ends the whole process, in whatever thread it is."""
    user.ends_process = True
    if isinstance(error, StructuredException):
        user.process.err.write(describe_exception(error))
        return error.ExceptionCode
    if is_internal(error):
        raise error
    user.process.err.write(app_traceback(error))
    return FAILURE


def exit_code(result: Any) -> int:
    """What a thread's routine returned: an int is the code, anything else is success."""
    return int(result) & 0xFFFF_FFFF if isinstance(result, int) else 0


def exit_code_of_sys_exit(process: UserProcess, value: Any) -> int:
    """As the interpreter does: None is 0, an int itself, anything else is printed and 1."""
    if value is None or isinstance(value, int):
        return exit_code(value or 0)
    process.err.write(f"{value}\n")
    return FAILURE


def is_internal(error: BaseException) -> bool:
    """Whether an error is ntsim's own rather than the app's."""
    if getattr(error, "ntsim_caller_error", False) or isinstance(error, RecursionError):
        return False
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None:
        return False
    file = step.tb_frame.f_code.co_filename
    if not is_ntsim(file):
        return False
    faces = file.startswith((_NTSIM + "/um/", _NTSIM + "/abi/", _NTSIM + "/host/"))
    return not (faces and isinstance(error, _APP_ERRORS))


def is_ntsim(file: str) -> bool:
    """Whether a source file is part of the simulation (samples are not)."""
    return file.startswith(_NTSIM) and not file.startswith(f"{_NTSIM}/samples/")


def app_traceback(error: BaseException) -> str:
    """Python's traceback without the simulation's frames."""
    shown = traceback.TracebackException.from_exception(error)
    for each in chained(shown):
        kept = [f for f in each.stack if not is_ntsim(f.filename) and f.filename]
        each.stack = traceback.StackSummary.from_list(kept)
    return "".join(shown.format())


def chained(shown: Any) -> Iterator[Any]:
    """An exception and those it was raised from; the traceback module has broken cycles."""
    if shown is not None:
        yield shown
        yield from chained(shown.__cause__)
        yield from chained(shown.__context__)


def describe_exception(error: StructuredException) -> str:
    """An unhandled exception: its code, what it was, and where."""
    head = f"unhandled exception {error.ExceptionCode:#010x} ({status_name(error.ExceptionCode)})"
    reason = f": {error.reason}" if error.reason else ""
    steps = [s for s in traceback.extract_tb(error.__traceback__) if not is_ntsim(s.filename)]
    where = "".join(traceback.StackSummary.from_list(steps).format())
    return f"{where}{head}{reason}\n"
