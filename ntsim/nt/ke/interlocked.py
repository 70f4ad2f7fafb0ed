"""Interlocked operations: indivisible reads and writes of one variable.

They are intrinsics: no scheduling point lies between the read and the write. Each works on the
width its name says, whatever the type of the pointer it is given. Results are as in C: Increment,
Decrement and Add return the new value, all others the old one. Source: wdm.h; WDK
InterlockedIncrement and its neighbours.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi.scalars import BOOLEAN, CHAR, LONG, LONGLONG, PVOID, SHORT, UCHAR
from ntsim.hw.mmu import WRITE
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

I8, I16, I32, I64, U64 = (
    ctypes.c_int8,
    ctypes.c_int16,
    ctypes.c_int32,
    ctypes.c_int64,
    ctypes.c_uint64,
)


def cell(nt: Kernel, address: int, kind: Any) -> Any:
    """The variable of ctypes class `kind` at `address`; if it is not there, a write has faulted.

    One that lies across two guarded pages raises STATUS_DATATYPE_MISALIGNMENT, which silicon, with
    a split lock, does not.
    """
    size = ctypes.sizeof(kind)
    host = nt.mmu.raw(address, size)
    if host is None:
        if (address & 0xFFF) + size > 0x1000:
            nt.raise_status(ntstatus.STATUS_DATATYPE_MISALIGNMENT, "split lock")
        host = nt.mmu.host(address, WRITE)
    return kind.from_address(host)


def exchange(nt: Kernel, address: int, kind: Any, value: int) -> int:
    """Store `value`; the old value."""
    variable = cell(nt, address, kind)
    old: int = variable.value
    variable.value = value
    return old


def add(nt: Kernel, address: int, kind: Any, value: int) -> int:
    """Add with wrap-around; the new value."""
    variable = cell(nt, address, kind)
    variable.value += value
    result: int = variable.value
    return result


def compare_exchange(nt: Kernel, address: int, kind: Any, new: int, expected: int) -> int:
    """Store `new` if the variable is `expected`; the old value."""
    variable = cell(nt, address, kind)
    old: int = variable.value
    if old == kind(expected).value:
        variable.value = new
    return old


def combine(
    nt: Kernel, address: int, kind: Any, operation: Callable[[int, int], int], value: int
) -> int:
    """Store operation(old, value); the old value."""
    variable = cell(nt, address, kind)
    old: int = variable.value
    variable.value = operation(old, value)
    return old


@export(irql="any", inline=True, aliases=("_InterlockedIncrement",))
def InterlockedIncrement(nt: Kernel, Addend: PVOID) -> LONG:
    """Add 1 to a LONG; the new value."""
    return add(nt, int(Addend), I32, 1)


@export(irql="any", inline=True, aliases=("_InterlockedIncrement16",))
def InterlockedIncrement16(nt: Kernel, Addend: PVOID) -> SHORT:
    """Add 1 to a SHORT; the new value."""
    return add(nt, int(Addend), I16, 1)


@export(irql="any", inline=True, aliases=("_InterlockedIncrement64",))
def InterlockedIncrement64(nt: Kernel, Addend: PVOID) -> LONGLONG:
    """Add 1 to a LONG64; the new value."""
    return add(nt, int(Addend), I64, 1)


@export(irql="any", inline=True, aliases=("_InterlockedDecrement",))
def InterlockedDecrement(nt: Kernel, Addend: PVOID) -> LONG:
    """Subtract 1 from a LONG; the new value."""
    return add(nt, int(Addend), I32, -1)


@export(irql="any", inline=True, aliases=("_InterlockedDecrement16",))
def InterlockedDecrement16(nt: Kernel, Addend: PVOID) -> SHORT:
    """Subtract 1 from a SHORT; the new value."""
    return add(nt, int(Addend), I16, -1)


@export(irql="any", inline=True, aliases=("_InterlockedDecrement64",))
def InterlockedDecrement64(nt: Kernel, Addend: PVOID) -> LONGLONG:
    """Subtract 1 from a LONG64; the new value."""
    return add(nt, int(Addend), I64, -1)


@export(irql="any", inline=True, aliases=("_InterlockedAdd",))
def InterlockedAdd(nt: Kernel, Addend: PVOID, Value: LONG) -> LONG:
    """Add Value to a LONG; the new value."""
    return add(nt, int(Addend), I32, Value)


@export(irql="any", inline=True, aliases=("_InterlockedAdd64",))
def InterlockedAdd64(nt: Kernel, Addend: PVOID, Value: LONGLONG) -> LONGLONG:
    """Add Value to a LONG64; the new value."""
    return add(nt, int(Addend), I64, Value)


@export(irql="any", inline=True, aliases=("_InterlockedExchangeAdd",))
def InterlockedExchangeAdd(nt: Kernel, Addend: PVOID, Value: LONG) -> LONG:
    """Add Value to a LONG; the old value."""
    return combine(nt, int(Addend), I32, operator.add, Value)


@export(irql="any", inline=True, aliases=("_InterlockedExchangeAdd64",))
def InterlockedExchangeAdd64(nt: Kernel, Addend: PVOID, Value: LONGLONG) -> LONGLONG:
    """Add Value to a LONG64; the old value."""
    return combine(nt, int(Addend), I64, operator.add, Value)


@export(irql="any", inline=True, aliases=("_InterlockedExchange8",))
def InterlockedExchange8(nt: Kernel, Target: PVOID, Value: CHAR) -> CHAR:
    """Store a CHAR; the old value."""
    return exchange(nt, int(Target), I8, Value)


@export(irql="any", inline=True, aliases=("_InterlockedExchange16",))
def InterlockedExchange16(nt: Kernel, Destination: PVOID, ExChange: SHORT) -> SHORT:
    """Store a SHORT; the old value."""
    return exchange(nt, int(Destination), I16, ExChange)


@export(irql="any", inline=True, aliases=("_InterlockedExchange",))
def InterlockedExchange(nt: Kernel, Target: PVOID, Value: LONG) -> LONG:
    """Store a LONG; the old value."""
    return exchange(nt, int(Target), I32, Value)


@export(irql="any", inline=True, aliases=("_InterlockedExchange64",))
def InterlockedExchange64(nt: Kernel, Target: PVOID, Value: LONGLONG) -> LONGLONG:
    """Store a LONG64; the old value."""
    return exchange(nt, int(Target), I64, Value)


@export(irql="any", inline=True, aliases=("_InterlockedExchangePointer",))
def InterlockedExchangePointer(nt: Kernel, Target: PVOID, Value: PVOID) -> PVOID:
    """Store a pointer; the old one."""
    return exchange(nt, int(Target), U64, int(Value))


@export(irql="any", inline=True, aliases=("_InterlockedCompareExchange16",))
def InterlockedCompareExchange16(
    nt: Kernel, Destination: PVOID, ExChange: SHORT, Comperand: SHORT
) -> SHORT:
    """Store ExChange if the SHORT is Comperand; the old value."""
    return compare_exchange(nt, int(Destination), I16, ExChange, Comperand)


@export(irql="any", inline=True, aliases=("_InterlockedCompareExchange",))
def InterlockedCompareExchange(
    nt: Kernel, Destination: PVOID, ExChange: LONG, Comperand: LONG
) -> LONG:
    """Store ExChange if the LONG is Comperand; the old value."""
    return compare_exchange(nt, int(Destination), I32, ExChange, Comperand)


@export(irql="any", inline=True, aliases=("_InterlockedCompareExchange64",))
def InterlockedCompareExchange64(
    nt: Kernel, Destination: PVOID, ExChange: LONGLONG, Comperand: LONGLONG
) -> LONGLONG:
    """Store ExChange if the LONG64 is Comperand; the old value."""
    return compare_exchange(nt, int(Destination), I64, ExChange, Comperand)


@export(irql="any", inline=True, aliases=("_InterlockedCompareExchangePointer",))
def InterlockedCompareExchangePointer(
    nt: Kernel, Destination: PVOID, Exchange: PVOID, Comperand: PVOID
) -> PVOID:
    """Store Exchange if the pointer is Comperand; the old one."""
    return compare_exchange(nt, int(Destination), U64, int(Exchange), int(Comperand))


@export(irql="any", inline=True, aliases=("_InterlockedCompareExchange128",))
def InterlockedCompareExchange128(
    nt: Kernel,
    Destination: PVOID,
    ExchangeHigh: LONGLONG,
    ExchangeLow: LONGLONG,
    ComparandResult: PVOID,
) -> UCHAR:
    """Compare 16 bytes with those at ComparandResult, which gets the old ones; 1 if exchanged."""
    old = nt.mmu.read(int(Destination), 16)
    equal = old == nt.mmu.read(int(ComparandResult), 16)
    new = b"".join((part & 2**64 - 1).to_bytes(8, "little") for part in (ExchangeLow, ExchangeHigh))
    nt.mmu.write(int(Destination), new if equal else old)
    nt.mmu.write(int(ComparandResult), old)
    return int(equal)


@export(irql="any", inline=True, aliases=("_InterlockedAnd",))
def InterlockedAnd(nt: Kernel, Destination: PVOID, Value: LONG) -> LONG:
    """AND a LONG with Value; the old value."""
    return combine(nt, int(Destination), I32, operator.and_, Value)


@export(irql="any", inline=True, aliases=("_InterlockedAnd64",))
def InterlockedAnd64(nt: Kernel, Destination: PVOID, Value: LONGLONG) -> LONGLONG:
    """AND a LONG64 with Value; the old value."""
    return combine(nt, int(Destination), I64, operator.and_, Value)


@export(irql="any", inline=True, aliases=("_InterlockedOr",))
def InterlockedOr(nt: Kernel, Destination: PVOID, Value: LONG) -> LONG:
    """OR a LONG with Value; the old value."""
    return combine(nt, int(Destination), I32, operator.or_, Value)


@export(irql="any", inline=True, aliases=("_InterlockedOr64",))
def InterlockedOr64(nt: Kernel, Destination: PVOID, Value: LONGLONG) -> LONGLONG:
    """OR a LONG64 with Value; the old value."""
    return combine(nt, int(Destination), I64, operator.or_, Value)


@export(irql="any", inline=True, aliases=("_InterlockedXor",))
def InterlockedXor(nt: Kernel, Destination: PVOID, Value: LONG) -> LONG:
    """XOR a LONG with Value; the old value."""
    return combine(nt, int(Destination), I32, operator.xor, Value)


@export(irql="any", inline=True, aliases=("_InterlockedXor64",))
def InterlockedXor64(nt: Kernel, Destination: PVOID, Value: LONGLONG) -> LONGLONG:
    """XOR a LONG64 with Value; the old value."""
    return combine(nt, int(Destination), I64, operator.xor, Value)


@export(irql="any", inline=True, aliases=("_interlockedbittestandset",))
def InterlockedBitTestAndSet(nt: Kernel, Base: PVOID, Offset: LONG) -> BOOLEAN:
    """Set bit Offset of the LONGs from Base on; what it was."""
    address, bit = int(Base) + (Offset >> 5) * 4, 1 << (Offset & 31)
    return bool(combine(nt, address, I32, operator.or_, bit) & bit)


@export(irql="any", inline=True, aliases=("_interlockedbittestandreset",))
def InterlockedBitTestAndReset(nt: Kernel, Base: PVOID, Offset: LONG) -> BOOLEAN:
    """Clear bit Offset of the LONGs from Base on; what it was."""
    address, bit = int(Base) + (Offset >> 5) * 4, 1 << (Offset & 31)
    return bool(combine(nt, address, I32, operator.and_, ~bit) & bit)
