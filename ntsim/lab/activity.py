"""What everybody is doing on a machine that has been stopped from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ntsim.nt.events import irql_name
from ntsim.nt.ki import frames

if TYPE_CHECKING:
    from ntsim.hw.cpu import Processor
    from ntsim.machine import Machine
    from ntsim.nt.ke.thread import Thread


def activity(machine: Machine) -> Iterator[str]:
    """A line for each processor that is not idle, then one for each waiting thread."""
    nt = machine.nt
    for processor in nt.processors:
        thread = nt.ke.threads[nt.prcb[processor.number]._v.CurrentThread]
        if thread not in nt.ke.idle_threads and not processor.halted:
            yield _doing(machine, processor, thread)
    yield from machine.waits()


def _doing(machine: Machine, processor: Processor, thread: Thread) -> str:
    nt = machine.nt
    frame = processor.greenlet.gr_frame if processor.greenlet is not None else None
    stack = frames.capture(nt, frame) if frame is not None else []
    source = next((f for f in stack if f.file), None)
    place = f", {source.file}:{source.line} {source.symbol}" if source is not None else ""
    call = f", in {stack[0].call_site}" if stack and stack[0] is not source else ""
    interrupts = "" if processor.interrupts_enabled else ", interrupts off"
    return (
        f"processor {processor.number}: {thread.process.name} thread {thread.text}, "
        f"{irql_name(processor.cr8)}{interrupts}{place}{call}"
    )
