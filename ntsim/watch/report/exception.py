"""The exception behind 0x1E, 0x3B and 0x7E, with the traceback of a Python error."""

from __future__ import annotations

import linecache
import traceback

from ntsim.abi import bugcodes
from ntsim.abi.ntstatus import status_name
from ntsim.abi.rtl import CONTEXT
from ntsim.nt.ke.bugcheck import BugCheckState
from ntsim.nt.kernel import Kernel
from ntsim.nt.rtl.exception import PYTHON_ERROR
from ntsim.watch.report.model import Exception_


def exception_of(nt: Kernel, state: BugCheckState) -> Exception_ | None:
    """The unhandled exception; None for bug checks that have none."""
    fault = state.fault
    if fault is None:
        return None
    record, context = _addresses(state)
    registers = CONTEXT.at(nt.mmu, context) if context else None
    return Exception_(
        code=fault.ExceptionCode,
        name=exception_name(fault.ExceptionCode),
        address=fault.ExceptionAddress,
        location=nt.describe_address(fault.ExceptionAddress),
        text=fault.reason,
        parameters=tuple(fault.ExceptionInformation),
        record=record,
        context=context,
        rsp=registers.Rsp if registers else 0,
        eflags=registers.EFlags if registers else 0,
        flags=fault.ExceptionFlags,
        traceback=tuple(_traceback(nt, fault.error)) if fault.error else (),
    )


def exception_name(code: int) -> str:
    """The name of an exception code; of ntsim's own code for Python errors, too."""
    return "Python error" if code == PYTHON_ERROR else status_name(code)


def _addresses(state: BugCheckState) -> tuple[int, int]:
    """(EXCEPTION_RECORD, CONTEXT) as far as the parameters give them."""
    _, _, three, four = state.parameters
    if state.code == bugcodes.SYSTEM_THREAD_EXCEPTION_NOT_HANDLED:
        return three, four
    return 0, three if state.code == bugcodes.SYSTEM_SERVICE_EXCEPTION else 0


def _traceback(nt: Kernel, error: BaseException) -> list[str]:
    """The lines of driver and app code in a Python traceback, innermost last, and the error.

    A chained error comes first, as Python prints it.
    """
    lines = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines = [*_traceback(nt, cause), "which led to:"]
    for step in traceback.extract_tb(error.__traceback__):
        name = nt.host.files.get(step.filename)
        if name is None:
            continue
        lines.append(f"{name}:{step.lineno} {step.name}")
        source = linecache.getline(step.filename, step.lineno or 0).strip()
        if source:
            lines.append(f"    {source}")
    return [*lines, *traceback.format_exception_only(error)[-1].rstrip("\n").split("\n")]
