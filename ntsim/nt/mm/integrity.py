"""Callbacks that only drivers linked with /INTEGRITYCHECK may register.

The loader marks such an image in its KLDR_DATA_TABLE_ENTRY, and that is what is asked for: a driver
that sets the bit itself passes, on Windows too. A driver in Python counts as linked so. Source: WDK
PsSetCreateProcessNotifyRoutineEx and ObRegisterCallbacks, "STATUS_ACCESS_DENIED"; Windows Internals
7, part 1, chapter 3, on process protection callbacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.ex import KLDR_DATA_TABLE_ENTRY
from ntsim.nt.vf.findings import report_finding

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

IMAGE_INTEGRITY_FORCED = 0x20
"""Bit of KLDR_DATA_TABLE_ENTRY.Flags."""

HOW = "link with /INTEGRITYCHECK (mingw: -Wl,--forceinteg)"


def mm_verify_callback_function(nt: Kernel, address: int, routine: str) -> bool:
    """Whether a callback lies in an image that may register it with `routine`."""
    image = nt.images.at(address)
    if image is None:
        why = f"the callback at {address:#x} lies in no driver's image"
    elif not image.owner or _flags(nt, image.owner) & IMAGE_INTEGRITY_FORCED:
        return True
    else:
        why = f"{image.file_name} has no right to: {HOW}"
    report_finding(nt, "IntegrityCheck", routine, f"STATUS_ACCESS_DENIED: {why}")
    return False


def _flags(nt: Kernel, entry: int) -> int:
    return int(KLDR_DATA_TABLE_ENTRY.at(nt.mmu, entry)._v.Flags)
