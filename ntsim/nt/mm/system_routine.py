"""MmGetSystemRoutineAddress: the kernel's routines by name.

An address is a place in nt's image that can be called, with a routine's arguments as numbers. A
name that Windows exports and the model has not gives an address too: calling it stops the run with
the routine's name. Source: WDK MmGetSystemRoutineAddress.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ntsim.abi import routines, scalars
from ntsim.abi.scalars import PVOID
from ntsim.abi.types import PointerType, Scalar, pointer_class, prepare, resolve
from ntsim.errors import UnmodelledRoutine
from ntsim.nt.exports import EXPORTS, export
from ntsim.nt.rtl.text import read_unicode

if TYPE_CHECKING:
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

_PLAIN = {"Any", "PVOID", "HANDLE", "ULONG_PTR", "LARGE_INTEGER", "PHYSICAL_ADDRESS"}
_PLAIN |= {*scalars.PCWSTR_TYPES, *scalars.PCSTR_TYPES}
_OUT = re.compile(r"^(?:Out|OutOpt)\[(.*)\]$")


@dataclass(frozen=True, eq=True)
class SystemRoutine:
    """What lies at a routine's address. Equal for the same routine of the same machine."""

    nt: Kernel
    name: str

    def __call__(self, *arguments: int) -> int:
        found = EXPORTS.get(self.name)
        if found is None:
            documented = self.name in routines.names()
            prototype = routines.lookup(self.name).prototype if documented else ""
            self.nt.fail(UnmodelledRoutine(self.name, prototype))
        typed = [
            typed_argument(self.nt, kind, value)
            for (_, kind), value in zip(found.parameters, arguments, strict=False)
        ]
        result = found.function(self.nt, *typed, *arguments[len(typed) :])
        return 0 if result is None else int(result)


def typed_argument(nt: Kernel, kind: str, value: int) -> Any:
    """A register's value as the parameter type that a routine's annotation names."""
    if kind in _PLAIN:
        return value
    out = _OUT.match(kind)
    try:
        found = resolve("P" + out[1] if out else kind, None)
    except NameError:
        return value  # the type of a driver's routine
    if isinstance(found, Scalar):
        number = int(value) & (1 << 8 * found.size) - 1
        sign = 1 << 8 * found.size - 1
        return (number ^ sign) - sign if found.signed else number
    target = found.target if isinstance(found, PointerType) else found
    prepare(target)
    return pointer_class(target).at(nt.mmu, int(value))


@export(irql="== PASSIVE")
def MmGetSystemRoutineAddress(nt: Kernel, SystemRoutineName: PUNICODE_STRING) -> PVOID:
    """The address of an exported routine of nt or hal, or of a variable; NULL if there is none.

    It is the routine's code, which a hook may read, copy and patch. Source: WDK; Wine
    ntoskrnl tests get_proc_address for variables.
    """
    name = read_unicode(nt.mmu, SystemRoutineName)
    return nt.host.routine_address(name) or nt.host.variable(name)
