"""Simulated hardware on the root bus: which resources a device has, and how its lines are wired.

An interrupt line n becomes a vector whose upper half is the device's IRQL (DIRQL 6 to 11).
Registers in memory are page frames of the machine: MmMapIoSpace maps them like any, the
READ_REGISTER and WRITE_REGISTER routines ask the device's model first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ntsim.errors import ConfigurationError
from ntsim.hw.ram import PAGE_SIZE

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

LINES = 48


def hal_vector(line: int) -> int:
    """The interrupt vector of a line; its upper half is the device's IRQL."""
    return (6 + line % 6) << 4 | 1 + line // 6


@dataclass(eq=False, slots=True)
class Hardware:
    """What sits in a slot of the bus.

    `ports` are (first, count), `memory` (physical address, bytes), `lines` interrupt lines.
    `latched` lines are edges, others levels. `model` may have port_in(port, size), port_out(port,
    size, value), register_in(offset, size), register_out(offset, size, value); `description` is
    its device text. `present` is false when it was pulled out.
    """

    hardware_id: str
    compatible_ids: tuple[str, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    memory: tuple[tuple[int, int], ...] = ()
    lines: tuple[int, ...] = ()
    latched: bool = False
    model: Any = None
    description: str = ""
    location: str = ""
    capabilities: int = 0
    instance: str = ""
    present: bool = True
    asserted: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Ports:
    """The device model's face to the port bus."""

    model: Any

    def port_in(self, port: int, size: int) -> int:
        read = getattr(self.model, "port_in", None)
        return (1 << 8 * size) - 1 if read is None else int(read(port, size))

    def port_out(self, port: int, size: int, value: int) -> None:
        write = getattr(self.model, "port_out", None)
        if write is not None:
            write(port, size, value)


def hal_wire(nt: Kernel, hardware: Hardware, sizes: tuple[int, ...]) -> None:
    """Connect a device to the machine: ports to the bus, frames for its registers."""
    for line in hardware.lines:
        if not 0 <= line < LINES:
            raise ConfigurationError(f"interrupt line {line}: lines are 0 to {LINES - 1}")
    for first, count in hardware.ports:
        try:
            nt.processors[0].ports.attach(_Ports(hardware.model), first, count)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
    made = []
    for size in sizes:
        pages = -(-size // PAGE_SIZE)
        pa = nt.mm.frames.take_run(pages, 0, nt.mm.ram.size - 1)
        if pa is None:
            raise ConfigurationError(f"memory={sizes}: no RAM is left, use a larger memory_mb")
        nt.mm.ram.write(pa, bytes(pages * PAGE_SIZE))
        for page in range(pa, pa + pages * PAGE_SIZE, PAGE_SIZE):
            nt.registers[page >> 12] = (pa, hardware.model)
        made.append((pa, size))
    hardware.memory = tuple(made)
