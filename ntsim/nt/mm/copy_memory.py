"""MmCopyMemory: a copy out of memory of which the caller does not know whether it is there.

Source: WDK MmCopyMemory; ntddk.h MM_COPY_ADDRESS and its flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS, PVOID, SIZE_T, ULONG
from ntsim.hw.mmu import READ
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import Out, export
from ntsim.nt.mm.resolve import mm_access_fault

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

MM_COPY_MEMORY_PHYSICAL, MM_COPY_MEMORY_VIRTUAL = 1, 2


@export(irql="<= APC")
def MmCopyMemory(
    nt: Kernel,
    TargetAddress: PVOID,
    SourceAddress: PVOID,
    NumberOfBytes: SIZE_T,
    Flags: ULONG,
    NumberOfBytesTransferred: Out[SIZE_T],
) -> NTSTATUS:
    """Copy from virtual or physical addresses to resident memory, as far as the source goes.

    A source that ends before NumberOfBytes, or is no RAM, is STATUS_INVALID_ADDRESS; what was
    copied before stays. Not exactly one of the two flags: STATUS_INVALID_PARAMETER_4. That the
    statuses are these is from reports of users, the page names none.
    """
    NumberOfBytesTransferred[0] = 0
    if Flags not in (MM_COPY_MEMORY_PHYSICAL, MM_COPY_MEMORY_VIRTUAL):
        return ntstatus.STATUS_INVALID_PARAMETER_4
    source, target, done = int(SourceAddress), int(TargetAddress), 0
    while done < NumberOfBytes:
        place = source + done
        size = min(NumberOfBytes - done, PAGE_SIZE - (place & PAGE_SIZE - 1))
        physical = place if Flags == MM_COPY_MEMORY_PHYSICAL else _present(nt, place)
        if physical is None or not 0 <= physical <= nt.mm.ram.size - size:
            return ntstatus.STATUS_INVALID_ADDRESS
        nt.mmu.write(target + done, nt.mm.ram.read(physical, size))
        done += size
        NumberOfBytesTransferred[0] = done
    return ntstatus.STATUS_SUCCESS


def _present(nt: Kernel, va: int) -> int | None:
    """Physical address of a byte that may be read, brought in if it is paged out."""
    if nt.mmu.probe(va, READ) is None and not mm_access_fault(nt, va, 0):
        return None
    return nt.mmu.physical(va)
