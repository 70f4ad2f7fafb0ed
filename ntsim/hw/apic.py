"""The local APIC of a processor, as far as software can tell: pending and in-service vectors.

The task-priority register is CR8. A vector's priority class (bits 7:4) is its IRQL on x64 Windows,
so "may this interrupt be delivered" is: interrupts enabled and class above CR8 (SDM 3, "Interrupt
Acceptance for Fixed Interrupts").
"""

from __future__ import annotations


class Apic:
    """Interrupt request and in-service registers as 256-bit ints."""

    __slots__ = ("in_service", "requested")

    def __init__(self) -> None:
        self.requested = 0
        self.in_service = 0

    def request(self, vector: int) -> None:
        """Make `vector` pending; a vector is pending at most once."""
        self.requested |= 1 << vector

    def withdraw(self, vector: int) -> None:
        self.requested &= ~(1 << vector)

    def is_pending(self, vector: int) -> bool:
        return bool(self.requested >> vector & 1)

    def deliverable(self, cr8: int) -> int:
        """The highest pending vector whose class is above `cr8`, or -1."""
        vector = self.requested.bit_length() - 1
        return vector if vector >> 4 > cr8 else -1

    def accept(self, vector: int) -> None:
        """Move `vector` from requested to in service."""
        self.requested &= ~(1 << vector)
        self.in_service |= 1 << vector

    def unaccept(self, vector: int) -> None:
        """The processor did not take `vector` after all (a VM exit without acknowledgement)."""
        self.in_service &= ~(1 << vector)
        self.requested |= 1 << vector

    def end_of_interrupt(self) -> None:
        """EOI: clear the highest in-service vector."""
        if self.in_service:
            self.in_service &= ~(1 << (self.in_service.bit_length() - 1))
