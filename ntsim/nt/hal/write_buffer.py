"""KeFlushWriteBuffer: stores that are still in the processor's buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


@export(irql="any")
def KeFlushWriteBuffer(nt: Kernel) -> None:
    """Drain the write buffer; stores here are never buffered. Source: WDK KeFlushWriteBuffer."""
