"""Formatted output to memory: the sprintf family of the C run-time library in the kernel.

`_snprintf` and its like store at most Count characters, and a NUL only if there is room left for
it; a cut text gives -1. The `_s` routines empty the buffer instead. Conversions between 8-bit and
wide text need PASSIVE_LEVEL. Source: C run-time library reference; `nt.kd.format`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.scalars import INT, PSTR, PWSTR, SIZE_T
from ntsim.nt.exports import export
from ntsim.nt.kd.format import Formatter, template_text
from ntsim.nt.rtl.codepage import ansi_encode, wide_encode
from ntsim.nt.vf.findings import report_finding

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

RULE = "FormatArguments"


def rtl_format(nt: Kernel, routine: str, template: Any, arguments: Any, wide: bool = False) -> str:
    """The formatted text; what is wrong with template or arguments becomes a finding."""
    formatter = Formatter(nt.mmu, wide, nt.il.current.cr8 == 0)
    text = formatter.format(template_text(nt.mmu, template, wide), arguments)
    for problem in formatter.problems:
        report_finding(nt, RULE, routine, problem)
    return text


def characters(text: str, wide: bool) -> bytes:
    return wide_encode(text) if wide else ansi_encode(text)


def put(nt: Kernel, buffer: int, text: str, wide: bool = False) -> int:
    """Store everything and a NUL; the number of characters."""
    data = characters(text, wide)
    width = 2 if wide else 1
    nt.mmu.write(int(buffer), data + bytes(width))
    return len(data) // width


def put_cut(nt: Kernel, buffer: int, count: int, text: str, wide: bool = False) -> int:
    """Store at most `count` characters; -1 if that cut the text."""
    data = characters(text, wide)
    width = 2 if wide else 1
    length = len(data) // width
    nt.mmu.write(int(buffer), (data + bytes(width))[: count * width])
    return length if length <= count else -1


def put_safe(nt: Kernel, buffer: int, size: int, text: str, wide: bool = False) -> int:
    """Store everything and a NUL, or an empty string and -1 if the buffer is too small."""
    data = characters(text, wide)
    width = 2 if wide else 1
    if len(data) // width < size:
        return put(nt, buffer, text, wide)
    if size:
        nt.mmu.write(int(buffer), bytes(width))
    return -1


@export(irql="any")
def sprintf(nt: Kernel, Buffer: PSTR, Format: Any, *Arguments: Any) -> INT:
    """Format into Buffer, whatever it can hold."""
    return put(nt, Buffer, rtl_format(nt, "sprintf", Format, Arguments))


@export(irql="any")
def vsprintf(nt: Kernel, Buffer: PSTR, Format: Any, ArgList: Any) -> INT:
    """As sprintf, with a va_list."""
    return put(nt, Buffer, rtl_format(nt, "vsprintf", Format, ArgList))


@export(irql="any")
def swprintf(nt: Kernel, Buffer: PWSTR, Format: Any, *Arguments: Any) -> INT:
    """Format wide characters into Buffer, whatever it can hold."""
    return put(nt, Buffer, rtl_format(nt, "swprintf", Format, Arguments, True), True)


@export(irql="any")
def _snprintf(nt: Kernel, Buffer: PSTR, Count: SIZE_T, Format: Any, *Arguments: Any) -> INT:
    """Format at most Count characters."""
    return put_cut(nt, Buffer, Count, rtl_format(nt, "_snprintf", Format, Arguments))


@export(irql="any")
def _vsnprintf(nt: Kernel, Buffer: PSTR, Count: SIZE_T, Format: Any, ArgList: Any) -> INT:
    """As _snprintf, with a va_list."""
    return put_cut(nt, Buffer, Count, rtl_format(nt, "_vsnprintf", Format, ArgList))


@export(irql="any")
def _snwprintf(nt: Kernel, Buffer: PWSTR, Count: SIZE_T, Format: Any, *Arguments: Any) -> INT:
    """Format at most Count wide characters."""
    text = rtl_format(nt, "_snwprintf", Format, Arguments, True)
    return put_cut(nt, Buffer, Count, text, True)


@export(irql="any")
def _vsnwprintf(nt: Kernel, Buffer: PWSTR, Count: SIZE_T, Format: Any, ArgList: Any) -> INT:
    """As _snwprintf, with a va_list."""
    text = rtl_format(nt, "_vsnwprintf", Format, ArgList, True)
    return put_cut(nt, Buffer, Count, text, True)


@export(irql="any")
def sprintf_s(nt: Kernel, Buffer: PSTR, Size: SIZE_T, Format: Any, *Arguments: Any) -> INT:
    """Format into a buffer of Size characters, or empty it if that is too small."""
    return put_safe(nt, Buffer, Size, rtl_format(nt, "sprintf_s", Format, Arguments))


@export(irql="any")
def vsprintf_s(nt: Kernel, Buffer: PSTR, Size: SIZE_T, Format: Any, ArgList: Any) -> INT:
    """As sprintf_s, with a va_list."""
    return put_safe(nt, Buffer, Size, rtl_format(nt, "vsprintf_s", Format, ArgList))


@export(irql="any")
def swprintf_s(nt: Kernel, Buffer: PWSTR, Size: SIZE_T, Format: Any, *Arguments: Any) -> INT:
    """Format into a buffer of Size wide characters, or empty it if that is too small."""
    text = rtl_format(nt, "swprintf_s", Format, Arguments, True)
    return put_safe(nt, Buffer, Size, text, True)
