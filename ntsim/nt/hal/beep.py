"""HalMakeBeep: the PC speaker, channel 2 of the interval timer behind two bits of port 61h.

Source: ReactOS hal/halx86/generic/beep.c; Intel 8254, "Mode 3: square wave mode".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN, ULONG
from ntsim.nt.exports import export
from ntsim.nt.hal.ports import hal_in, hal_out

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

CHANNEL_2, CONTROL, SYSTEM_PORT_B = 0x42, 0x43, 0x61
SQUARE_WAVE_OF_CHANNEL_2, GATE_AND_DATA = 0xB6, 3
TIMER_HZ = 1_193_182


@export(irql="any")
def HalMakeBeep(nt: Kernel, Frequency: ULONG) -> BOOLEAN:
    """Sound a tone of Frequency in Hz, 0 for silence; FALSE if the timer cannot make it."""
    speaker = hal_in(nt, SYSTEM_PORT_B, 1)
    hal_out(nt, SYSTEM_PORT_B, 1, speaker & ~GATE_AND_DATA)
    if not Frequency:
        return 1
    divider = TIMER_HZ // Frequency
    if not 0 < divider < 0x1_0000:
        return 0
    hal_out(nt, CONTROL, 1, SQUARE_WAVE_OF_CHANNEL_2)
    hal_out(nt, CHANNEL_2, 1, divider & 0xFF)
    hal_out(nt, CHANNEL_2, 1, divider >> 8)
    hal_out(nt, SYSTEM_PORT_B, 1, speaker | GATE_AND_DATA)
    return 1
