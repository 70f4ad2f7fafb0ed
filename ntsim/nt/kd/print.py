"""DbgPrint and its family.

One call sends at most 512 bytes; a longer message is cut at 511 and ends in a newline. What is
shown is kept line by line in `Kd.lines`, as DebugView lists it: the text of a call ends its line
even without a newline, and a newline inside starts another. Source: WDK DbgPrint, DbgPrintEx and
their remarks; Sysinternals DebugView for the lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.scalars import NTSTATUS, ULONG
from ntsim.nt.events import DebugPrinted
from ntsim.nt.exports import export
from ntsim.nt.kd.filter import FilterMasks
from ntsim.nt.kd.format import Formatter, narrowed, template_text
from ntsim.nt.rtl.exception import StructuredException
from ntsim.nt.vf.findings import report_finding

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

LIMIT = 512
"""Bytes of one message."""


class Kd:
    """`lines` are the lines shown so far, `masks` decide what is shown."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.lines: list[str] = []
        self.masks = FilterMasks(nt)

    def show(self, text: str) -> None:
        """Keep the text of one call."""
        if not text:
            return
        for line in text.removesuffix("\n").split("\n"):
            shown = line.rstrip("\r")
            self.lines.append(shown)
            self.nt.said("DbgPrint", shown)
            self.nt.emit_at(DebugPrinted, shown)


def kdp_print(
    nt: Kernel, routine: str, component: int, level: int, template: Any, arguments: Any,
    prefix: str = "",
) -> int:  # fmt: skip
    """The common part: filter, format, cut, show."""
    shown = nt.kd.masks.shows(component, level)
    if not shown:
        return ntstatus.STATUS_INVALID_PARAMETER_1 if shown is None else ntstatus.STATUS_SUCCESS
    formatter = Formatter(nt.mmu, convert=nt.il.current.cr8 == 0)
    try:
        text = prefix + formatter.format(template_text(nt.mmu, template), arguments)
    except StructuredException as error:
        return error.ExceptionCode
    for problem in formatter.problems:
        report_finding(nt, "FormatArguments", routine, problem)
    text = narrowed(text)
    nt.kd.show(text if len(text) < LIMIT else text[: LIMIT - 1] + "\n")
    return ntstatus.STATUS_SUCCESS


@export(irql="<= DIRQL")
def DbgPrint(nt: Kernel, Format: Any, *Arguments: Any) -> NTSTATUS:
    """DbgPrintEx of the DEFAULT component at level INFO (3).

    Unicode conversions (%S, %ws, %wZ) give output at PASSIVE_LEVEL only. Source: WDK DbgPrint.
    """
    component, level = c.DPFLTR_DEFAULT_ID, c.DPFLTR_INFO_LEVEL
    return kdp_print(nt, "DbgPrint", component, level, Format, Arguments)


@export(irql="<= DIRQL")
def DbgPrintEx(
    nt: Kernel, ComponentId: ULONG, Level: ULONG, Format: Any, *Arguments: Any
) -> NTSTATUS:
    """Send a message to the debugger if the masks let it through. Source: WDK DbgPrintEx."""
    return kdp_print(nt, "DbgPrintEx", ComponentId, Level, Format, Arguments)


@export(irql="<= DIRQL")
def vDbgPrintEx(
    nt: Kernel, ComponentId: ULONG, Level: ULONG, Format: Any, arglist: Any
) -> NTSTATUS:
    """As DbgPrintEx, with a va_list (in Python, a sequence). Source: WDK vDbgPrintEx."""
    return kdp_print(nt, "vDbgPrintEx", ComponentId, Level, Format, arglist)


@export(irql="<= DIRQL")
def vDbgPrintExWithPrefix(
    nt: Kernel, Prefix: Any, ComponentId: ULONG, Level: ULONG, Format: Any, arglist: Any
) -> NTSTATUS:
    """As vDbgPrintEx, with Prefix in front of the text. Source: WDK vDbgPrintExWithPrefix."""
    prefix = template_text(nt.mmu, Prefix)
    return kdp_print(nt, "vDbgPrintExWithPrefix", ComponentId, Level, Format, arglist, prefix)


@export(irql="<= DIRQL", inline=True)
def KdPrint(nt: Kernel, Format: Any, *Arguments: Any) -> NTSTATUS:
    """DbgPrint in a build with DBG defined, which drivers here are. Source: WDK KdPrint."""
    return DbgPrint(nt, Format, *Arguments)


@export(irql="<= DIRQL", inline=True)
def KdPrintEx(
    nt: Kernel, ComponentId: ULONG, Level: ULONG, Format: Any, *Arguments: Any
) -> NTSTATUS:
    """DbgPrintEx in a build with DBG defined. Source: WDK KdPrintEx."""
    return DbgPrintEx(nt, ComponentId, Level, Format, *Arguments)
