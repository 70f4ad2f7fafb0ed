"""The drivers unloaded last: what `lm` lists as unloaded modules, and where 0xCE finds a name.

MmUnloadedDrivers points at fifty entries of a UNICODE_STRING, start and end address and the time;
MmLastUnloadedDriver is the next one to be written. Source: WinDbg `lm`; volatility3's
windows/extensions (MM_UNLOADED_DRIVER); WDK "Bug Check 0xCE".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.nt.mm.variables import mi_variable

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image

ENTRIES, ENTRY_SIZE = 50, 0x28


def mi_remember_unloaded(nt: Kernel, image: Image) -> None:
    """Enter an image; the fifty-first takes the place of the first."""
    table, last = mi_variable(nt, "MmUnloadedDrivers"), mi_variable(nt, "MmLastUnloadedDriver")
    if not nt.read_pointer(table):
        made = nt.allocate_pool(ENTRIES * ENTRY_SIZE, "MmUn")
        nt.mmu.write(made, bytes(ENTRIES * ENTRY_SIZE))
        nt.write_pointer(table, made)
    index = nt.read_pointer(last) % ENTRIES
    entry = nt.read_pointer(table) + ENTRY_SIZE * index
    if old := nt.read_pointer(entry + 8):
        nt.free_pool(old)
    name = image.file_name.encode("utf-16-le")
    buffer = nt.allocate_pool(len(name), "TDmm")
    nt.mmu.write(buffer, name)
    fields = (len(name), len(name), buffer, image.base, image.base + image.size, nt.ke.system_time)
    nt.mmu.write(entry, struct.pack("<HH4xQQQQ", *fields))
    nt.write_pointer(last, (index + 1) % ENTRIES)
