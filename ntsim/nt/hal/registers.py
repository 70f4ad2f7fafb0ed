"""READ_REGISTER_XXX, WRITE_REGISTER_XXX: a device's registers in memory.

The device's model answers if it has `register_in(offset, size)` or `register_out(offset, size,
value)`; the value is in memory as well, where a plain pointer sees it. Source: WDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import PVOID, UCHAR, ULONG, ULONGLONG, USHORT
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def hal_read_register(nt: Kernel, address: int, size: int) -> int:
    """A read of `size` bytes, which the device may answer."""
    data = nt.mmu.read(int(address), size)
    if nt.registers:
        pa = nt.mmu.physical(int(address)) or 0
        start, model = nt.registers.get(pa >> 12, (0, None))
        answer = getattr(model, "register_in", None)
        if answer is not None:
            data = (int(answer(pa - start, size)) & (1 << 8 * size) - 1).to_bytes(size, "little")
            nt.mmu.write(int(address), data)
    return int.from_bytes(data, "little")


def hal_write_register(nt: Kernel, address: int, size: int, value: int) -> None:
    """A write of `size` bytes, of which the device hears."""
    nt.mmu.write(int(address), value.to_bytes(size, "little"))
    if nt.registers:
        pa = nt.mmu.physical(int(address)) or 0
        start, model = nt.registers.get(pa >> 12, (0, None))
        hear = getattr(model, "register_out", None)
        if hear is not None:
            hear(pa - start, size, value)


@export(irql="any", inline=True)
def READ_REGISTER_UCHAR(nt: Kernel, Register: PVOID) -> UCHAR:
    """One byte."""
    return hal_read_register(nt, Register, 1)


@export(irql="any", inline=True)
def READ_REGISTER_USHORT(nt: Kernel, Register: PVOID) -> USHORT:
    """Two bytes."""
    return hal_read_register(nt, Register, 2)


@export(irql="any", inline=True)
def READ_REGISTER_ULONG(nt: Kernel, Register: PVOID) -> ULONG:
    """Four bytes."""
    return hal_read_register(nt, Register, 4)


@export(irql="any", inline=True)
def READ_REGISTER_ULONG64(nt: Kernel, Register: PVOID) -> ULONGLONG:
    """Eight bytes."""
    return hal_read_register(nt, Register, 8)


@export(irql="any", inline=True)
def WRITE_REGISTER_UCHAR(nt: Kernel, Register: PVOID, Value: UCHAR) -> None:
    """One byte."""
    hal_write_register(nt, Register, 1, Value)


@export(irql="any", inline=True)
def WRITE_REGISTER_USHORT(nt: Kernel, Register: PVOID, Value: USHORT) -> None:
    """Two bytes."""
    hal_write_register(nt, Register, 2, Value)


@export(irql="any", inline=True)
def WRITE_REGISTER_ULONG(nt: Kernel, Register: PVOID, Value: ULONG) -> None:
    """Four bytes."""
    hal_write_register(nt, Register, 4, Value)


@export(irql="any", inline=True)
def WRITE_REGISTER_ULONG64(nt: Kernel, Register: PVOID, Value: ULONGLONG) -> None:
    """Eight bytes."""
    hal_write_register(nt, Register, 8, Value)
