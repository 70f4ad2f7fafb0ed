"""What every processor and waiting thread of a machine that stands still is doing."""

from __future__ import annotations

from dataclasses import dataclass

from ntsim.abi.io import IO_STACK_LOCATION, IRP
from ntsim.nt.io.cancel import thread_irps
from ntsim.nt.io.irp import MAJOR_NAMES
from ntsim.nt.ke.bugcheck import ProcessorState
from ntsim.nt.ke.thread import WAITING, Thread
from ntsim.nt.ke.wait import ki_describe_objects
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki import frames
from ntsim.nt.ki.frames import StackFrame


@dataclass(frozen=True, slots=True)
class Wait:
    """A thread that waits: for what, from where, and which requests of it are with drivers."""

    process: str
    thread: str
    objects: str
    stack: list[StackFrame]
    requests: list[str]


def processor_states(nt: Kernel) -> list[ProcessorState]:
    """Every processor with its stack. Nothing runs now: even the current one is suspended."""
    return [_processor(nt, number) for number in range(len(nt.processors))]


def _processor(nt: Kernel, number: int) -> ProcessorState:
    processor = nt.processors[number]
    thread = nt.ke.threads[nt.prcb[number]._v.CurrentThread]
    return ProcessorState(
        number, thread.text, thread.process.name, processor.cr8, processor.rflags, processor.cr0,
        processor.cr2, processor.cr3, processor.cr4, nt.vmx_mode(processor),
        _stack(nt, processor.greenlet),
    )  # fmt: skip


def _stack(nt: Kernel, greenlet: object) -> list[StackFrame]:
    frame = getattr(greenlet, "gr_frame", None)
    return frames.capture(nt, frame, greenlet) if frame is not None else []


def waits(nt: Kernel) -> list[Wait]:
    """Every waiting thread, oldest thread first."""
    return [_wait(nt, each) for each in nt.ke.threads.values() if each.v.State == WAITING]


def _wait(nt: Kernel, thread: Thread) -> Wait:
    objects = [int(each) for each in nt.ke.waited_objects(thread, thread.v.WaitBlockCount)]
    what = ki_describe_objects(nt, objects) or "a timeout"
    requests = [_request(nt, irp) for irp in thread_irps(nt, thread)]
    return Wait(thread.process.name, thread.text, what, _stack(nt, thread.greenlet), requests)


def _request(nt: Kernel, irp: IRP) -> str:
    """Where an IRP is: with the driver of its current stack location, or completed."""
    v = irp._v
    if v.CurrentLocation > v.StackCount:
        return f"IRP {int(irp):#x} is completed"
    location = IO_STACK_LOCATION.at(nt.mmu, v.Tail_Overlay_CurrentStackLocation)
    major = MAJOR_NAMES.get(location.MajorFunction, str(location.MajorFunction))
    driver = nt.io.driver_name(location.DeviceObject.DriverObject)
    return f"IRP {int(irp):#x} ({major}) is with {driver}"
