"""READ_PORT_XXX, WRITE_PORT_XXX: IN and OUT of the current processor. Source: WDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PVOID, UCHAR, ULONG, USHORT
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def hal_in(nt: Kernel, port: int, size: int) -> int:
    """IN of `size` bytes."""
    value: int = nt.ki.processor_operation(nt.il.current.port_in, int(port) & 0xFFFF, size)
    return value


def hal_out(nt: Kernel, port: int, size: int, value: int) -> None:
    """OUT of `size` bytes."""
    nt.ki.processor_operation(nt.il.current.port_out, int(port) & 0xFFFF, size, value)


def hal_in_string(nt: Kernel, port: int, size: int, buffer: int, count: int) -> None:
    """INS: `count` values into memory."""
    for at in range(int(buffer), int(buffer) + count * size, size):
        nt.mmu.write(at, hal_in(nt, port, size).to_bytes(size, "little"))


def hal_out_string(nt: Kernel, port: int, size: int, buffer: int, count: int) -> None:
    """OUTS: `count` values out of memory."""
    for at in range(int(buffer), int(buffer) + count * size, size):
        hal_out(nt, port, size, int.from_bytes(nt.mmu.read(at, size), "little"))


@export(irql="any", inline=True)
def READ_PORT_UCHAR(nt: Kernel, Port: PVOID) -> UCHAR:
    """One byte."""
    return hal_in(nt, Port, 1)


@export(irql="any", inline=True)
def READ_PORT_USHORT(nt: Kernel, Port: PVOID) -> USHORT:
    """Two bytes."""
    return hal_in(nt, Port, 2)


@export(irql="any", inline=True)
def READ_PORT_ULONG(nt: Kernel, Port: PVOID) -> ULONG:
    """Four bytes."""
    return hal_in(nt, Port, 4)


@export(irql="any", inline=True)
def READ_PORT_BUFFER_UCHAR(nt: Kernel, Port: PVOID, Buffer: PVOID, Count: ULONG) -> None:
    """Count bytes into Buffer."""
    hal_in_string(nt, Port, 1, Buffer, Count)


@export(irql="any", inline=True)
def READ_PORT_BUFFER_USHORT(nt: Kernel, Port: PVOID, Buffer: PVOID, Count: ULONG) -> None:
    """Count 16-bit values into Buffer."""
    hal_in_string(nt, Port, 2, Buffer, Count)


@export(irql="any", inline=True)
def READ_PORT_BUFFER_ULONG(nt: Kernel, Port: PVOID, Buffer: PVOID, Count: ULONG) -> None:
    """Count 32-bit values into Buffer."""
    hal_in_string(nt, Port, 4, Buffer, Count)


@export(irql="any", inline=True)
def WRITE_PORT_UCHAR(nt: Kernel, Port: PVOID, Value: UCHAR) -> None:
    """One byte."""
    hal_out(nt, Port, 1, Value)


@export(irql="any", inline=True)
def WRITE_PORT_USHORT(nt: Kernel, Port: PVOID, Value: USHORT) -> None:
    """Two bytes."""
    hal_out(nt, Port, 2, Value)


@export(irql="any", inline=True)
def WRITE_PORT_ULONG(nt: Kernel, Port: PVOID, Value: ULONG) -> None:
    """Four bytes."""
    hal_out(nt, Port, 4, Value)


@export(irql="any", inline=True)
def WRITE_PORT_BUFFER_UCHAR(nt: Kernel, Port: PVOID, Buffer: PVOID, Count: ULONG) -> None:
    """Count bytes of Buffer."""
    hal_out_string(nt, Port, 1, Buffer, Count)


@export(irql="any", inline=True)
def WRITE_PORT_BUFFER_USHORT(nt: Kernel, Port: PVOID, Buffer: PVOID, Count: ULONG) -> None:
    """Count 16-bit values of Buffer."""
    hal_out_string(nt, Port, 2, Buffer, Count)


@export(irql="any", inline=True)
def WRITE_PORT_BUFFER_ULONG(nt: Kernel, Port: PVOID, Buffer: PVOID, Count: ULONG) -> None:
    """Count 32-bit values of Buffer."""
    hal_out_string(nt, Port, 4, Buffer, Count)
