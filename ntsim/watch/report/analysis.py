"""The sections that `!analyze -v` has, in its layout.

Only what is known is printed: a simulated machine has no times of analysis, no symbol server and no
hashes. Layout: dumps of Windows 10 19041 in public issues (winsiderss/systeminformer 2300,
nmap/npcap 245) and the OSR thread "IRQ level fault, VT-x".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from ntsim.abi.irql import INTERRUPTS_OFF
from ntsim.watch.report.model import Argument, CrashReport, Exception_, Frame
from ntsim.watch.report.registers import register_rows

STARS = "*" * 79
MOST_FRAMES = 60
OS_LINES = (
    "OS_VERSION:  10.0.19041.1",
    "BUILDLAB_STR:  vb_release",
    "OSPLATFORM_TYPE:  x64",
    "OSNAME:  Windows 10",
)


def banner() -> str:
    """The box that opens an analysis."""
    empty, title = "*" + " " * 77 + "*", "*" + " " * 24 + "Bugcheck Analysis".ljust(53) + "*"
    return "\n".join((STARS, empty, title, empty, STARS))


def head(report: CrashReport) -> str:
    """Name, sentence, arguments."""
    lines = [f"{report.name} ({report.code:x})"]
    lines += [report.text] if report.text else []
    lines.append("Arguments:")
    for number, each in enumerate(report.arguments, start=1):
        lines.append(f"Arg{number}: {each.value:016x}{_meaning(each)}")
    return "\n".join(lines)


def _meaning(argument: Argument) -> str:
    """`, access: write`. A level's name is left to CURRENT_IRQL, except for what is no level."""
    parts = [argument.meaning] if argument.meaning else []
    level = argument.explanation.endswith("_LEVEL")
    if argument.explanation and not level:
        parts = [": ".join([*parts, argument.explanation])]
    return "".join(f", {part}" for part in parts)


def details(report: CrashReport) -> Iterator[str]:
    """Everything below "Debugging Details"."""
    yield "Debugging Details:\n------------------"
    yield _key_values(report)
    yield f"BUGCHECK_CODE:  {report.code:x}"
    for number, each in enumerate(report.arguments, start=1):
        yield f"BUGCHECK_P{number}: {each.value:x}"
    if report.exception is not None:
        yield from _exception(report.exception)
    if report.fault is not None:
        memory = f" {report.fault.memory}" if report.fault.memory else ""
        yield f"{report.fault.access.upper()}_ADDRESS:  {report.fault.address:016x}{memory}"
        yield f"CURRENT_IRQL:  {_level(report.irql)}"
    if report.registers is not None:
        yield "REGISTERS:\n" + "\n".join(register_rows(report.registers))
    yield f"PROCESS_NAME:  {report.process}"
    yield "STACK_TEXT:  \n" + "\n".join(stack_rows(report.stack))
    yield f"SYMBOL_NAME:  {report.symbol_name}"
    yield f"MODULE_NAME: {report.module_name}"
    yield f"IMAGE_NAME:  {report.image_name}"
    yield f"STACK_COMMAND:  {_stack_command(report.exception)}"
    yield f"BUCKET_ID_FUNC_OFFSET:  {report.symbol_offset:x}"
    yield f"FAILURE_BUCKET_ID:  {report.bucket}"
    yield from OS_LINES
    yield "Followup:     MachineOwner\n---------"


def _key_values(report: CrashReport) -> str:
    pairs = (
        ("Bugcheck.Code.KiBugCheckData", f"{report.code:#x}"),
        ("Failure.Bucket", report.bucket),
        ("WER.OS.Version", "10.0.19041.1"),
    )
    shown = (f"    Key  : {key}\n    Value: {value}" for key, value in pairs)
    return "\n\n".join(["KEY_VALUES_STRING: 1", *shown])


def _level(irql: int) -> str:
    return "ff (interrupts were off)" if irql == INTERRUPTS_OFF else f"{irql:x}"


def _exception(exception: Exception_) -> Iterator[str]:
    kind = "(NTSTATUS) " if exception.name.startswith("STATUS_") else ""
    text = f": {exception.text}" if exception.text else ""
    yield f"EXCEPTION_CODE: {kind}{exception.code:#x} - {exception.name}{text}"
    if exception.record:
        yield _record(exception)
    for number, value in enumerate(exception.parameters, start=1):
        yield f"EXCEPTION_PARAMETER{number}:  {value:016x}"
    if exception.context:
        yield (
            f"CONTEXT:  {exception.context:016x} -- (.cxr 0x{exception.context:x})\n"
            f"rip={exception.address:016x} rsp={exception.rsp:016x} efl={exception.eflags:08x}\n"
            f"{exception.location}"
        )
    if exception.traceback:
        yield "PYTHON_TRACEBACK:\n" + "\n".join(exception.traceback)


def _record(exception: Exception_) -> str:
    lines = [
        f"EXCEPTION_RECORD:  {exception.record:016x} -- (.exr 0x{exception.record:x})",
        f"ExceptionAddress: {exception.address:016x} ({exception.location})",
        f"   ExceptionCode: {exception.code:08x} ({exception.name})",
        f"  ExceptionFlags: {exception.flags:08x}",
        f"NumberParameters: {len(exception.parameters)}",
    ]
    for number, value in enumerate(exception.parameters):
        lines.append(f"   Parameter[{number}]: {value:016x}")
    return "\n".join(lines)


def _stack_command(exception: Exception_ | None) -> str:
    if exception is not None and exception.context:
        return f".cxr 0x{exception.context:x} ; kb"
    return ".thread ; .cxr ; kb"


def stack_rows(stack: Sequence[Frame]) -> list[str]:
    """Every frame; of a very deep stack the two ends."""
    rows = [stack_row(frame) for frame in stack]
    left_out = len(rows) - MOST_FRAMES
    if left_out > 0:
        half = MOST_FRAMES // 2
        rows[half:-half] = [f"... {left_out} frames ..."]
    return rows


def stack_row(frame: Frame) -> str:
    """A row of STACK_TEXT: stack pointer, return address, four arguments, call site, source."""
    arguments = " ".join(_split(value) for value in frame.arguments)
    offset = f"+{frame.offset:#x}" if frame.offset else ""
    source = f" [{short_path(frame.file)} @ {frame.line}] " if frame.file else ""
    site = f"{frame.module}!{frame.symbol}{offset}"
    place = f"{_split(frame.child_sp)} {_split(frame.return_address)}"
    return f"{place} : {arguments} : {site}{source}"


def _split(value: int) -> str:
    """An address with the backquote that debuggers put in its middle."""
    return f"{value >> 32:08x}`{value & 0xFFFF_FFFF:08x}"


def short_path(file: str) -> str:
    """The last folder and the name: the same text wherever the files lie."""
    return "/".join(PurePath(file).parts[-2:])
