"""Exports that mean something else to compiled code than to a Python driver.

Raising routines are Python exceptions there; an export's address is that of its body here.
"""

from __future__ import annotations

from collections.abc import Callable

from ntsim.abi import ntstatus
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.host.export_names import Standing, standing
from ntsim.host.export_table import ExportTable
from ntsim.nt.kernel import Kernel
from ntsim.nt.rtl.text import read_unicode


class OwnExports:
    """For one machine; `counts` says how many arguments each takes."""

    def __init__(self, nt: Kernel, exports: ExportTable) -> None:
        self.nt, self.exports = nt, exports
        self.routines: dict[str, tuple[Callable[..., int | None], int]] = {
            "ExRaiseStatus": (self.raise_status, 1),
            "RtlRaiseStatus": (self.raise_status, 1),
            "ExRaiseAccessViolation": (self.raise_access_violation, 0),
            "ExRaiseDatatypeMisalignment": (self.raise_misalignment, 0),
            "MmGetSystemRoutineAddress": (self.routine_address, 1),
            "_purecall": (self.pure_call, 0),
        }

    def raise_status(self, status: int) -> None:
        """A structured exception with `status` as its code."""
        self.nt.il.step()
        self.nt.raise_status(status & 0xFFFF_FFFF)

    def raise_access_violation(self) -> None:
        """STATUS_ACCESS_VIOLATION, raised by software."""
        self.raise_status(ntstatus.STATUS_ACCESS_VIOLATION)

    def raise_misalignment(self) -> None:
        """STATUS_DATATYPE_MISALIGNMENT."""
        self.raise_status(ntstatus.STATUS_DATATYPE_MISALIGNMENT)

    def pure_call(self) -> None:
        """A C++ class's pure virtual function was called. Source: the Windows Research Kernel."""
        self.raise_status(ntstatus.STATUS_NOT_IMPLEMENTED)

    def routine_address(self, name: int) -> int:
        """Address of a routine's body or of a variable; 0 for a name that Windows does not have."""
        self.nt.il.step()
        wanted = read_unicode(self.nt.mmu, UNICODE_STRING.at(self.nt.mmu, name))
        found = standing(wanted)
        if found in (Standing.VARIABLE, Standing.UNMODELLED_VARIABLE):
            return self.exports.variable(wanted)
        known = found in (Standing.MODELLED, Standing.UNMODELLED)
        return (self.exports.address(wanted) or 0) if known else 0
