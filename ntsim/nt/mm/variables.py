"""The kernel's own variables: nt's .data, where debuggers and dump readers begin.

Each is named as in Windows' symbols (PsActiveProcessHead, ObpRootDirectoryObject), so that
everything else can be reached from nt by following bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm import layout

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

DATA = layout.NT_BASE + 0x1C_0000
DATA_PAGES = 2


def mi_map_kernel_data(nt: Kernel) -> None:
    """Memory for the variables, all zero."""
    image, mm = nt.nt_image, nt.mm
    for va in range(DATA, DATA + DATA_PAGES * PAGE_SIZE, PAGE_SIZE):
        frame = mm.frames.take()
        mm.system.map(va, [frame])
        mm.mmu.map_raw(va, mm.ram.address + frame, [frame])
    image.data, image.data_end = DATA, DATA + DATA_PAGES * PAGE_SIZE


def mi_variable(nt: Kernel, name: str, size: int = 8) -> int:
    """Address of a variable of `size` bytes, made when first asked for; 16-byte aligned."""
    image = nt.nt_image
    found = image.find_named(name)
    if found is not None:
        return found.address
    address = image.data
    image.data += -(-size // 16) * 16
    assert image.data <= image.data_end, f"nt's .data has no room for {name}"
    image.define(name, address, size)
    return address
