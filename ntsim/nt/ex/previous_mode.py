"""ExGetPreviousMode: whether the running thread's last entry to the kernel came from user mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import KPROCESSOR_MODE
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@export(irql="<= DISPATCH", aliases=("KeGetPreviousMode",))
def ExGetPreviousMode(nt: Kernel) -> KPROCESSOR_MODE:
    """UserMode (1) in a system call of an app, KernelMode (0) in a system thread. Source: WDK."""
    mode: int = nt.thread.v.PreviousMode
    return mode
