"""Exits that come again and again because the handler removes nothing of what causes them.

The same exit of the same instruction with the same registers as the one before is no progress, so
time passes faster and the watchdogs bite: with interrupts off another processor notices (0x101).
Where interrupts get through nothing would ever end it; after REPETITIONS the run does, as a hang
that says which instruction it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.errors import Hang
from ntsim.hw.clock import TICK_100NS

if TYPE_CHECKING:
    from ntsim.hw.cpu import Processor
    from ntsim.nt.kernel import Kernel

REPETITIONS = 10_000
_EPT_EXITS = (abi.EXIT_REASON_EPT_VIOLATION, abi.EXIT_REASON_EPT_MISCONFIGURATION)
_EVENTS = (
    abi.EXIT_REASON_EXTERNAL_INTERRUPT,
    abi.EXIT_REASON_INTERRUPT_WINDOW,
    abi.EXIT_REASON_VMX_PREEMPTION_TIMER,
)
"""Exits that no instruction causes: they may come again, but not within one clock tick."""


class Repetition:
    """How often the last exit of one processor's guest has come: an instruction's, and an event's.

    `progress` is the machine's as of the first of these instructions' exits.
    """

    __slots__ = ("event", "events", "last", "progress", "times")

    def __init__(self) -> None:
        self.last: tuple[object, ...] = ()
        self.event = (0, 0)
        self.times = self.events = self.progress = 0

    def note(self, nt: Kernel, reason: int, *what: object) -> bool:
        """An exit of a guest that has executed nothing; whether time is to pass faster."""
        if reason in _EVENTS:
            event = reason, nt.il.now // TICK_100NS
            self.events = self.events + 1 if event == self.event else 0
            self.event = event
            return False
        if (reason, *what) != self.last:
            self.last, self.times, self.progress = (reason, *what), 0, nt.il.progress
            return False
        self.times += 1
        nt.il.progress = self.progress
        return True

    def end_if_endless(self, nt: Kernel, processor: Processor, rip: int) -> None:
        """Fail the run when it has come too often."""
        if max(self.times, self.events) < REPETITIONS:
            return
        vmcs = processor.vmx.current
        reason = vmcs.values[abi.VM_EXIT_REASON] & 0xFFFF
        text = abi.exit_reason_name(reason).removeprefix("EXIT_REASON_")
        if reason in _EPT_EXITS:
            text += f" of guest-physical address {vmcs.values[abi.GUEST_PHYSICAL_ADDRESS]:#x}"
        text += f" at {nt.describe_address(rip)} repeated {REPETITIONS:,} times: the handler"
        nt.fail(
            Hang((), f"{processor}: {text} neither goes past the instruction nor removes what "
                "makes it exit")
        )  # fmt: skip
