"""Interrupt request levels by name, as x64 Windows numbers them (wdm.h; debuggers' `!irql`)."""

NAMES: dict[int, str] = {
    0: "PASSIVE_LEVEL",
    1: "APC_LEVEL",
    2: "DISPATCH_LEVEL",
    5: "CMCI_LEVEL",
    12: "SYNCH_LEVEL",
    13: "CLOCK_LEVEL",
    14: "IPI_LEVEL",
    15: "HIGH_LEVEL",
}

INTERRUPTS_OFF = 0xFF
"""No level: what a bug check shows for a fault that was taken with RFLAGS.IF clear."""


def level_name(level: int) -> str:
    """The name of a level; device levels and values that are no level say so."""
    if level == INTERRUPTS_OFF:
        return "no level: interrupts were off"
    if 3 <= level <= 11:
        return NAMES.get(level, f"device level {level}")
    return NAMES.get(level, f"no level: {level:#x}")
