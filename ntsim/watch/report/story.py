"""The sections that ntsim adds: WHY, the other processors, findings, debug output."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from textwrap import wrap

from ntsim.abi.irql import level_name
from ntsim.watch.report.analysis import short_path
from ntsim.watch.report.model import CrashReport, ProcessorReport, WhyStep

WIDTH = 100
INDENT = "     "


def why(report: CrashReport) -> str:
    """The summary, then the steps with time, processor, place and source line."""
    lines = ["WHY", "---", *wrap(report.summary, WIDTH)]
    for number, step in enumerate(report.why, start=1):
        lines += ["", *_step(number, step)]
    return "\n".join(lines)


def _step(number: int, step: WhyStep) -> list[str]:
    place = f"  {step.where}" if step.where else ""
    head = f"{number:>3}. {time_text(step.time_100ns)}  processor {step.processor}{place}"
    lines = [head]
    if step.source:
        lines.append(f"{INDENT}> {step.source}"[:WIDTH])
    return lines + wrap(step.text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def time_text(time_100ns: int) -> str:
    """Virtual time since power-on in microseconds, as in the event log."""
    return f"{time_100ns // 10}.{time_100ns % 10} us"


def background(report: CrashReport) -> Iterator[str]:
    """What else was going on, as far as there is something to say."""
    yield "PROCESSORS:\n" + "\n".join(_processors(report.processors))
    if report.findings:
        rows = [
            line for each in report.findings for line in wrap(f"{each.rule}: {each.text}", WIDTH)
        ]
        yield "\n".join(["FINDINGS:", *rows])
    if report.debug_output:
        left = report.debug_lines - len(report.debug_output)
        title = f"DEBUG_OUTPUT (last {len(report.debug_output)} of {report.debug_lines} lines):"
        yield "\n".join([title if left else "DEBUG_OUTPUT:", *report.debug_output])


def _processors(processors: tuple[ProcessorReport, ...]) -> Iterator[str]:
    """A line for each processor; neighbours that idle share one."""
    for idle, group in groupby(processors, key=_quiet):
        members = list(group)
        if idle:
            first, last = members[0].number, members[-1].number
            yield f"{first if first == last else f'{first}-{last}':>5}  idle"
        else:
            for each in members:
                yield from _processor(each)


def _quiet(processor: ProcessorReport) -> bool:
    return processor.idle and processor.interrupts and processor.vmx == "off"


def _processor(processor: ProcessorReport) -> Iterator[str]:
    """Level, interrupts, VT-x, thread; then the innermost driver code, on a line of its own."""
    parts = [f"{processor.number:>5}  {level_name(processor.irql)} ({processor.irql})"]
    parts.append("interrupts on" if processor.interrupts else "interrupts OFF")
    parts.append(f"VMX {processor.vmx}")
    parts.append("idle" if processor.idle else f"{processor.process} {processor.thread}")
    yield "  ".join(parts)
    place = next((f for f in processor.stack if f.file and not f.user), None)
    if place is not None:
        source = f"[{short_path(place.file)} @ {place.line}]"
        yield f"       {place.module}!{place.symbol}+{place.offset:#x} {source}"
