"""ExUuidCreate: universally unique identifiers of version 1, by time and node.

The node is no network adapter's address, of which the machine has none, but a number with the
multicast bit, as RFC 4122 asks. Two machines with the same seed and history make the same ones.
Source: WDK ExUuidCreate; RFC 4122, 4.1 to 4.5; ReactOS kmtests ExUuid.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import NTSTATUS
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.rtl import PGUID
    from ntsim.nt.kernel import Kernel

GREGORIAN_100NS = 5_748_192_000_000_000
"""From 15 October 1582, where UUID time begins, to 1601, where system time does."""

CLOCK_SEQUENCE = 0x8000 | 0x1F4A
"""The variant 10x, then the sequence number."""

NODE = bytes.fromhex("034e5453494d")


@export(irql="== PASSIVE")
def ExUuidCreate(nt: Kernel, Uuid: PGUID) -> NTSTATUS:
    """A new UUID. Source: WDK ExUuidCreate."""
    time = max(nt.ke.system_time + GREGORIAN_100NS, nt.ex.last_uuid_time + 1)
    nt.ex.last_uuid_time = time
    low, middle, high = time & 0xFFFF_FFFF, time >> 32 & 0xFFFF, time >> 48 & 0xFFF
    data = struct.pack("<IHH", low, middle, 0x1000 | high)
    nt.mmu.write(int(Uuid), data + CLOCK_SEQUENCE.to_bytes(2, "big") + NODE)
    return ntstatus.STATUS_SUCCESS
