"""A run that ends without a bug check and without an end: what everybody does, as text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ntsim.abi.irql import level_name
from ntsim.errors import Hang
from ntsim.hw.cpu import RFLAGS_IF
from ntsim.nt.ke.bugcheck import ProcessorState
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.frames import StackFrame
from ntsim.watch.frozen import Wait, processor_states, waits
from ntsim.watch.source import Sources
from ntsim.watch.wait_graph import WaitGraph, deadlock_text, holders_text, name
from ntsim.watch.why.spin_locks import holder, wanted_lock


def hang_text(nt: Kernel, hang: Hang) -> str:
    """The reason, every processor that is not idle, every thread that waits, with source lines."""
    sources = Sources(nt)
    now = nt.il.clock.now
    time = f"at {now // 10}.{now % 10} us of virtual time"
    head, *more = hang.reason.split(": ", 1)
    lines = [f"HANG: {head}, {time}", *(f"  {each}" for each in _sentences(more))]
    lines += ["", "PROCESSORS"]
    for idle, group in groupby(processor_states(nt), key=lambda state: _idles(nt, state)):
        states = list(group)
        if idle:
            first, last = states[0].number, states[-1].number
            lines.append(f"  {first if first == last else f'{first}-{last}'}  idle")
        else:
            lines += [line for state in states for line in _processor(nt, sources, state)]
    waiting = waits(nt)
    lines += ["", "WAITS"]
    graph = WaitGraph(nt)
    for wait in waiting:
        lines += _wait(sources, graph, wait)
    if not waiting:
        lines += [f"  {line}" for line in hang.waits] or ["  no thread waits"]
    return "\n".join(lines)


def _sentences(texts: list[str]) -> list[str]:
    """One line for each sentence of what explains the hang."""
    return [line for text in texts for line in text.split(". ")]


def _idles(nt: Kernel, state: ProcessorState) -> bool:
    """Nothing to do, and able to take an interrupt."""
    idle = state.thread == nt.ke.idle_threads[state.number].text
    return idle and bool(state.rflags & RFLAGS_IF) and state.vmx == "off"


def _processor(nt: Kernel, sources: Sources, state: ProcessorState) -> Iterator[str]:
    idle = state.thread == nt.ke.idle_threads[state.number].text
    what = "idle" if idle else f"{state.process} thread {state.thread}"
    on = "interrupts on" if state.rflags & RFLAGS_IF else "interrupts OFF"
    level = f"{level_name(state.irql)} ({state.irql})"
    yield f"  {state.number}  {what}, {level}, {on}, VMX {state.vmx}"
    yield from _place(sources, state.stack)
    lock = wanted_lock(state.stack)
    held = holder(nt.recorder.events(), lock) if lock else None
    if held is not None:
        yield f"     spins for spin lock {lock:#x}: processor {held.processor} holds it since"
        yield f"     {held.where}"


def _wait(sources: Sources, graph: WaitGraph, wait: Wait) -> Iterator[str]:
    thread = wait.thread
    yield f"  {thread.process.name} thread {thread.text} waits for {wait.objects}"
    yield from _place(sources, wait.stack)
    for line in holders_text(graph, thread):
        yield f"     {line}"
    for request in wait.requests:
        yield f"     {request}"


def _place(sources: Sources, stack: list[StackFrame]) -> Iterator[str]:
    """Where the innermost driver or app frame is, and that line."""
    place = sources.place(stack)
    if place:
        yield f"     at {place}"
        yield f"     > {sources.line(place)}"


def standstill_text(nt: Kernel) -> str:
    """Why nothing can run any more, as the reason of a Hang: a deadlock, or a request that an app
    waits for; where neither is found, only that every processor is idle."""
    deadlock = deadlock_text(nt)
    if deadlock:
        return deadlock
    for wait in waits(nt):
        if wait.thread.user is not None and wait.requests:
            return f"every processor is idle: {name(wait.thread)} waits. {wait.requests[0]}"
    return "every processor is idle"
