"""Resources of a device: from what it requires, through what is chosen, to CM_RESOURCE_LISTs.

The raw list is as the bus sees it, the translated one as the processors do: an interrupt line
becomes a vector and an IRQL; ports and memory are the same. Source: WDK "Hardware Resources",
IRP_MN_START_DEVICE; wdm.h for the layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ntsim.abi import wdm_constants as c
from ntsim.abi.pnp import (
    CM_PARTIAL_RESOURCE_DESCRIPTOR,
    IO_RESOURCE_DESCRIPTOR,
    IO_RESOURCE_REQUIREMENTS_LIST,
)
from ntsim.nt.pnp.hardware import Hardware, hal_vector

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

ALTERNATIVE = 8
"""IO_RESOURCE_ALTERNATIVE: a second choice for the descriptor before it."""

_DESCRIPTORS = 0x28
"""Where the first IO_RESOURCE_DESCRIPTOR of the first list begins."""


def _number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


def _requirement(kind: int, share: int, flags: int, body: bytes) -> bytes:
    head = bytes([0, kind, share, 0]) + _number(flags, 2) + bytes(2)
    return (head + body).ljust(IO_RESOURCE_DESCRIPTOR.size, b"\0")


def pnp_requirements(hardware: Hardware) -> bytes:
    """An IO_RESOURCE_REQUIREMENTS_LIST with one list, empty if the device needs nothing."""
    made = []
    exclusive = c.CmResourceShareDeviceExclusive
    for first, count in hardware.ports:
        body = _number(count) + _number(1) + _number(first, 8) + _number(first + count - 1, 8)
        flags = c.CM_RESOURCE_PORT_IO | c.CM_RESOURCE_PORT_16_BIT_DECODE
        made.append(_requirement(c.CmResourceTypePort, exclusive, flags, body))
    for pa, size in hardware.memory:
        body = _number(size) + _number(0x1000) + _number(pa, 8) + _number(pa + size - 1, 8)
        made.append(_requirement(c.CmResourceTypeMemory, exclusive, 0, body))
    for line in hardware.lines:
        latched = hardware.latched
        share = exclusive if latched else c.CmResourceShareShared
        flags = c.CM_RESOURCE_INTERRUPT_LATCHED if latched else 0
        body = _number(line) * 2
        made.append(_requirement(c.CmResourceTypeInterrupt, share, flags, body))
    if not made:
        return b""
    size = _DESCRIPTORS + len(made) * IO_RESOURCE_DESCRIPTOR.size
    head = _number(size) + _number(c.PNPBus) + bytes(20) + _number(1)
    return head + _number(1, 2) * 2 + _number(len(made)) + b"".join(made)


def pnp_descriptors(nt: Kernel, requirements: int) -> Iterator[Any]:
    """The IO_RESOURCE_DESCRIPTORs of the first list, second choices left out."""
    if not requirements:
        return
    wanted = IO_RESOURCE_REQUIREMENTS_LIST.at(nt.mmu, requirements)
    count = wanted.List[0].Count if wanted.AlternativeLists else 0
    for index in range(count):
        at = requirements + _DESCRIPTORS + index * IO_RESOURCE_DESCRIPTOR.size
        descriptor = IO_RESOURCE_DESCRIPTOR.at(nt.mmu, at)
        if not descriptor.Option & ALTERNATIVE:
            yield descriptor


def pnp_assign(nt: Kernel, requirements: int) -> tuple[int, int]:
    """(raw, translated) CM_RESOURCE_LISTs for what is required, in paged pool; (0, 0) if nothing.

    Every device of the simulated bus has its place: the arbiter gives the lowest address asked for.
    """
    raw, translated = b"", b""
    for descriptor in pnp_descriptors(nt, requirements):
        pair = _choose(nt, descriptor)
        raw, translated = raw + pair[0], translated + pair[1]
    if not raw:
        return 0, 0
    return _list(nt, raw), _list(nt, translated)


def _choose(nt: Kernel, descriptor: Any) -> tuple[bytes, bytes]:
    kind = descriptor.Type
    head = bytes([kind, descriptor.ShareDisposition]) + _number(descriptor.Flags, 2)
    if kind == c.CmResourceTypeInterrupt:
        line = descriptor.u.Interrupt.MinimumVector
        vector = hal_vector(line)
        affinity = _number((1 << len(nt.processors)) - 1, 8)
        raw = _number(line) * 2 + affinity
        return head + raw, head + _number(vector >> 4) + _number(vector) + affinity
    if kind in (c.CmResourceTypePort, c.CmResourceTypeMemory):
        start = descriptor.u.Port.MinimumAddress.QuadPart
        body = _number(start & (1 << 64) - 1, 8) + _number(descriptor.u.Port.Length) + bytes(4)
        return head + body, head + body
    body = nt.mmu.read(int(descriptor) + 8, 12).ljust(16, b"\0")
    return head + body, head + body


def _list(nt: Kernel, descriptors: bytes) -> int:
    count = len(descriptors) // CM_PARTIAL_RESOURCE_DESCRIPTOR.size
    head = _number(1) + _number(c.PNPBus) + _number(0) + _number(1, 2) * 2 + _number(count)
    data = head + descriptors
    address = nt.ex.pool.allocate(len(data), "PpRl", paged=True)
    nt.mmu.write(address, data)
    return address
