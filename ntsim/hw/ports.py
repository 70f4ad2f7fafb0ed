"""The I/O port bus: 64 Ki ports, each owned by at most one device model.

A port that nobody owns reads as all ones and swallows writes, as on a PC.
"""

from __future__ import annotations

from typing import Protocol


class PortDevice(Protocol):
    """A device on the port bus; `size` is 1, 2 or 4 bytes."""

    def port_in(self, port: int, size: int) -> int: ...

    def port_out(self, port: int, size: int, value: int) -> None: ...


class PortBus:
    """Decodes port addresses."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: dict[int, PortDevice] = {}

    def attach(self, device: PortDevice, first: int, count: int) -> None:
        """Give `count` ports from `first` on to `device`; ValueError if one is taken."""
        wanted = range(first, first + count)
        if not 0 <= first <= first + count <= 0x10000:
            raise ValueError(
                f"ports {first:#x} to {first + count - 1:#x} are not all below 0x10000"
            )
        taken = [port for port in wanted if port in self._owners]
        if taken:
            raise ValueError(f"port {taken[0]:#x} is already owned by {self._owners[taken[0]]!r}")
        self._owners.update(dict.fromkeys(wanted, device))

    def read(self, port: int, size: int) -> int:
        """IN: the value read, all ones where no device answers."""
        device = self._owners.get(port)
        mask = (1 << 8 * size) - 1
        return mask if device is None else device.port_in(port, size) & mask

    def write(self, port: int, size: int, value: int) -> None:
        """OUT of the low `size` bytes of `value`."""
        device = self._owners.get(port)
        if device is not None:
            device.port_out(port, size, value & ((1 << 8 * size) - 1))


class SerialPort:
    """A 16550's transmit side: what is written to the data port is kept, line status says ready."""

    __slots__ = ("base", "transmitted")

    def __init__(self, base: int = 0x3F8) -> None:
        self.base = base
        self.transmitted = bytearray()

    def port_in(self, port: int, size: int) -> int:
        return 0x60 if port == self.base + 5 else 0

    def port_out(self, port: int, size: int, value: int) -> None:
        if port == self.base:
            self.transmitted.append(value & 0xFF)
