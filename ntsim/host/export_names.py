"""Which names the kernel exports, and what ntsim knows about each."""

from __future__ import annotations

from bisect import bisect_left
from enum import Enum
from functools import cache

from ntsim.abi import routines
from ntsim.abi.known_exports import ALSO_EXPORTED, ROUTINES, VARIABLES, undocumented
from ntsim.host.kernel_variables import ARRAYS, VALUES
from ntsim.nt.exports import EXPORTS, load_rooms

KERNEL_MODULES = (
    "ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "hal.dll", "hal.sys", "netio.sys",
)  # fmt: skip
"""Modules whose exports stand in one table; of netio.sys the WSK registration."""




class Standing(Enum):
    """What ntsim knows about an imported name."""

    MODELLED = "modelled"
    UNMODELLED = "known, not modelled"
    VARIABLE = "variable"
    UNMODELLED_VARIABLE = "variable, not modelled"
    UNKNOWN = "unknown to Windows"


def is_kernel_module(name: str) -> bool:
    """Whether an import's module is one whose exports the simulated kernel has."""
    return name.lower() in KERNEL_MODULES


@cache
def exported_names() -> tuple[str, ...]:
    """Every routine that a driver's import table may name, in alphabetical order.

    What the headers expand in the caller is no export, whether it is modelled for Python drivers
    or not, but for a few (ALSO_EXPORTED).
    """
    load_rooms()
    modelled = {name for name, export in EXPORTS.items() if not export.inline}
    known = set(routines.names()).difference(routines.inline_names())
    inline = {name for name, export in EXPORTS.items() if export.inline}
    named = {*ROUTINES, *ALSO_EXPORTED, *undocumented()}
    return tuple(sorted(modelled | (known - inline) | named))


def standing(name: str) -> Standing:
    """What becomes of an import of `name` from the kernel."""
    if name in VARIABLES:
        modelled = name in VALUES or name in ARRAYS
        return Standing.VARIABLE if modelled else Standing.UNMODELLED_VARIABLE
    names = exported_names()
    at = bisect_left(names, name)
    if at == len(names) or names[at] != name:
        return Standing.UNKNOWN
    return Standing.MODELLED if name in EXPORTS or name in OWN else Standing.UNMODELLED


OWN = frozenset(
    "ExRaiseAccessViolation ExRaiseDatatypeMisalignment ExRaiseStatus MmGetSystemRoutineAddress "
    "RtlCaptureContext RtlLookupFunctionEntry RtlPcToFileHeader RtlRaiseException RtlRaiseStatus "
    "RtlRestoreContext RtlUnwind RtlUnwindEx RtlVirtualUnwind __C_specific_handler "
    "__chkstk _local_unwind _purecall _setjmp _setjmpex longjmp".split()
)
"""Routines that mean something else to compiled code: `own_exports`, `seh_exports`."""
