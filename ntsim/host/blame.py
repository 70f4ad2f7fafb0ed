"""Whose mistake a Python error in driver code is: the driver's or ntsim's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import CodeType

_NTSIM = str(Path(__file__).resolve().parents[1])
_HEADERS = (f"{_NTSIM}/abi/", f"{_NTSIM}/host/")
"""Code that stands behind the headers a driver includes: types, faces, intrinsics."""


def raised_in_ntsim(error: BaseException, call: CodeType) -> bool:
    """Whether `error` comes out of the simulation rather than out of the driver or a library.

    What the headers raise about their caller is the caller's: errors marked `ntsim_caller_error`,
    and any error but an assertion of a type or face that a driver used directly. `call` is the code
    that calls routines: an error of its own is a routine with other parameters than the kernel
    passes.
    """
    if getattr(error, "ntsim_caller_error", False):
        return False
    codes = list(_codes(error))
    if not codes or codes[-1] is call:
        return False
    file = codes[-1].co_filename
    own_doubt = isinstance(error, AssertionError)
    if isinstance(error, (AttributeError, TypeError)) and file.startswith(_HEADERS[0]):
        return False
    while codes and not own_doubt and codes[-1].co_filename.startswith(_HEADERS):
        codes.pop()
    return not codes or _is_simulation(codes[-1].co_filename)


def _codes(error: BaseException) -> Iterator[CodeType]:
    """The code of each frame that the error passed, innermost last."""
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame.f_code
        step = step.tb_next


def _is_simulation(file: str) -> bool:
    """Samples are drivers, wherever they are installed."""
    return file.startswith(_NTSIM) and not file.startswith(f"{_NTSIM}/samples/")
