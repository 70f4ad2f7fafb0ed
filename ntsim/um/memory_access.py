"""Ring 3's access to the process's own memory: an access violation where hardware faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.nt.ki.fault import ki_raise
from ntsim.nt.mm.layout import MM_USER_PROBE_ADDRESS

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

READ, WRITE = 0, 1


def check_user_range(nt: Kernel, address: int, size: int, kind: int) -> None:
    """User mode does not reach system addresses."""
    if address < 0 or address + size > MM_USER_PROBE_ADDRESS:
        what = "write of" if kind else "read of"
        ki_raise(nt, ntstatus.STATUS_ACCESS_VIOLATION, (kind, address), f"{what} {address:#x}")


def read_user(nt: Kernel, address: int, size: int) -> bytes:
    """`size` bytes at `address`."""
    check_user_range(nt, address, size, READ)
    return nt.mmu.read(address, size)


def write_user(nt: Kernel, address: int, data: bytes) -> None:
    """Store `data` at `address`."""
    check_user_range(nt, address, len(data), WRITE)
    nt.mmu.write(address, data)
