"""What every processor and waiting thread of a machine that stands still is doing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ntsim.hw.mmu import UnreadableMemory
from ntsim.nt.events import Event
from ntsim.nt.io.cancel import thread_irps
from ntsim.nt.ke.bugcheck import ProcessorState
from ntsim.nt.ke.thread import WAITING, Thread
from ntsim.nt.ke.wait import ki_describe_objects
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki import frames
from ntsim.nt.ki.frames import StackFrame
from ntsim.watch.unfinished import request_text


@dataclass(frozen=True, slots=True)
class Wait:
    """A thread that waits: for what, from where, and which requests of it are with drivers."""

    thread: Thread
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
        stack_of(nt, processor.greenlet),
    )  # fmt: skip


def stack_of(nt: Kernel, greenlet: object) -> list[StackFrame]:
    """The frames of a stack that does not run."""
    frame = getattr(greenlet, "gr_frame", None)
    return frames.capture(nt, frame, greenlet) if frame is not None else []


def waits(nt: Kernel) -> list[Wait]:
    """Every waiting thread, oldest thread first."""
    events = nt.recorder.events()
    return [_wait(nt, each, events) for each in nt.ke.threads.values() if each.v.State == WAITING]


def _wait(nt: Kernel, thread: Thread, events: Sequence[Event]) -> Wait:
    what, requests = "what memory that cannot be read says", list[str]()
    with suppress(UnreadableMemory), nt.mmu.looking():
        objects = [int(each) for each in nt.ke.waited_objects(thread, thread.v.WaitBlockCount)]
        what = ki_describe_objects(nt, objects) or "a timeout"
        requests += [request_text(nt, irp, events) for irp in thread_irps(nt, thread)]
    return Wait(thread, what, stack_of(nt, thread.greenlet), requests)
