"""Everything that `ntsim.win32` offers, under one name space: functions, types, constants.

Constants come first, so that a function is never hidden behind one.
"""

from __future__ import annotations

from types import ModuleType

from ntsim.abi import ioctl, se, win32_constants, winerror
from ntsim.nt.rtl.exception import StructuredException
from ntsim.um import (
    completion_ports,
    files,
    handles,
    memory,
    overlapped,
    security,
    service_control,
    synchronization,
    system,
    threads,
)
from ntsim.um.current import PyHANDLE
from ntsim.um.errors import error
from ntsim.um.ntdll import syscall

_CONSTANTS = (se, winerror, win32_constants, ioctl)
_CALLS = (
    completion_ports, files, handles, memory, overlapped, security, service_control,
    synchronization, system, threads,
)  # fmt: skip


def _constants(module: ModuleType) -> dict[str, object]:
    """Upper-case names of numbers and names of functions such as CTL_CODE."""
    return {
        name: value
        for name, value in vars(module).items()
        if name[:1].isupper() and (isinstance(value, int) or name == "CTL_CODE")
    }


def _calls(module: ModuleType) -> dict[str, object]:
    """The module's own functions and classes with public names."""
    own = {n: v for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
    public = ("read_bytes", "write_bytes")
    return {n: v for n, v in own.items() if n[:1].isupper() or n in public}


NAMES: dict[str, object] = {}
for _module in _CONSTANTS:
    NAMES |= _constants(_module)
for _module in _CALLS:
    NAMES |= _calls(_module)
NAMES |= {"error": error, "PyHANDLE": PyHANDLE, "StructuredException": StructuredException}
NAMES["syscall"] = syscall
del NAMES["Opened"], NAMES["NewThread"]
