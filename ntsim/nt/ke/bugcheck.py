"""KeBugCheckEx: freeze every processor and keep what a debugger would find.

Nothing is unwound: every stack stays as it is until the machine is closed. Source: WDK
KeBugCheckEx; the order of frames follows real dumps (KeBugCheckEx, KeBugCheck2).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from ntsim.abi import bugcodes
from ntsim.abi.scalars import ULONG, ULONG_PTR
from ntsim.nt.events import BugChecked
from ntsim.nt.exports import export
from ntsim.nt.ke.bugcheck_callback import SecondaryData, ki_scan_callbacks
from ntsim.nt.ke.irql import HIGH_LEVEL
from ntsim.nt.ki import frames
from ntsim.nt.ki.frames import StackFrame
from ntsim.nt.ki.stack import lay_out

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.rtl.exception import StructuredException


@dataclass(slots=True)
class ProcessorState:
    """What one processor was doing when the system stopped."""

    number: int
    thread: str
    process: str
    irql: int
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    vmx: str
    stack: list[StackFrame] = field(default_factory=list)


@dataclass(slots=True)
class BugCheckState:
    """The bug check of a machine: code, parameters, and the state of every processor.

    `irql` is what the failing code ran at (0xFF: interrupts were off when it faulted); `fault` is
    the exception behind 0x3B, 0x7E and 0x1E; `stack` is the stack the report shows. `secondary` is
    what bug-check callbacks gave for the dump.
    """

    code: int
    parameters: tuple[int, int, int, int]
    processor: int
    irql: int
    time: int
    process: str
    thread: str
    stack: list[StackFrame]
    processors: list[ProcessorState]
    fault: StructuredException | None = None
    secondary: list[SecondaryData] = field(default_factory=list)


def ke_stop(
    nt: Kernel,
    code: int,
    parameters: tuple[int, int, int, int],
    irql: int | None = None,
    fault: StructuredException | None = None,
) -> NoReturn:
    """Stop the machine; does not return.

    Inside a callback of a bug check the first one counts and no further callback is called.
    """
    if nt.ke.stopping is not None:
        nt.stop(nt.ke.stopping)
    processor = nt.il.current
    level = processor.cr8 if irql is None else irql
    text = ", ".join(f"{value:#x}" for value in parameters)
    nt.emit(BugChecked, f"{bugcodes.name_of(code)} ({code:#x})", text)
    thread = nt.thread
    here = frames.capture(nt, sys._getframe(1))
    stack = fault.stack if fault is not None and fault.stack else here
    lay_out(nt, stack, thread, processor)
    states = [_processor_state(nt, p.number) for p in nt.processors]
    states[processor.number].stack = here
    processor.cr8 = HIGH_LEVEL
    state = BugCheckState(
        code, parameters, processor.number, level, nt.il.now, thread.process.name,
        thread.text, stack, states, fault,
    )  # fmt: skip
    nt.ke.stopping, nt.il.alone = state, processor.number
    state.secondary = ki_scan_callbacks(nt)
    nt.stop(state)


def _processor_state(nt: Kernel, number: int) -> ProcessorState:
    processor = nt.processors[number]
    thread = nt.ke.threads[nt.prcb[number]._v.CurrentThread]
    stack: list[StackFrame] = []
    if processor is not nt.il.current and processor.greenlet is not None:
        frame = processor.greenlet.gr_frame
        stack = frames.capture(nt, frame, processor.greenlet) if frame is not None else []
        lay_out(nt, stack, thread, processor)
    return ProcessorState(
        number, thread.text, thread.process.name, processor.cr8, processor.rflags, processor.cr0,
        processor.cr2, processor.cr3, processor.cr4, nt.vmx_mode(processor), stack,
    )  # fmt: skip


@export(irql="any")
def KeBugCheckEx(
    nt: Kernel,
    BugCheckCode: ULONG,
    BugCheckParameter1: ULONG_PTR,
    BugCheckParameter2: ULONG_PTR,
    BugCheckParameter3: ULONG_PTR,
    BugCheckParameter4: ULONG_PTR,
) -> None:
    """Stop the system with a code and four parameters. Source: WDK KeBugCheckEx."""
    parameters = (BugCheckParameter1, BugCheckParameter2, BugCheckParameter3, BugCheckParameter4)
    ke_stop(nt, BugCheckCode, parameters, nt.reported_irql)


@export(irql="any")
def KeBugCheck(nt: Kernel, BugCheckCode: ULONG) -> None:
    """Stop the system with a code. Source: WDK KeBugCheck."""
    KeBugCheckEx(nt, BugCheckCode, 0, 0, 0, 0)
