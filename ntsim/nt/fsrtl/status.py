"""Statuses of exceptions: FsRtlIsNtstatusExpected, FsRtlNormalizeNtstatus.

Source: WDK, the pages of these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import BOOLEAN, NTSTATUS
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

UNEXPECTED = {0x8000_0002, 0xC000_0005, 0xC000_001D, 0xC000_00AA}
"""Faults of the code itself: misalignment, access violation, illegal and misaligned instruction."""


@export(irql="any")
def FsRtlIsNtstatusExpected(nt: Kernel, Exception: NTSTATUS) -> BOOLEAN:
    """FALSE for faults of the code itself. Source: WDK FsRtlIsNtstatusExpected."""
    return Exception & 0xFFFF_FFFF not in UNEXPECTED


@export(irql="any")
def FsRtlNormalizeNtstatus(nt: Kernel, Exception: NTSTATUS, GenericException: NTSTATUS) -> NTSTATUS:
    """An expected status as it is, another one as GenericException. Source: WDK."""
    return Exception if FsRtlIsNtstatusExpected(nt, Exception) else GenericException
