"""The kernel's exports as compiled drivers see them: bodies and variables in nt's image.

Each routine has a body of 32 bytes: four stores into the home space, which a hook may copy, `mov
eax, index`, HLT where the engine stops and Python goes on, RET, INT3 padding. Bodies exist from the
first compiled driver on; a machine without one has none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

from ntsim.abi import routines
from ntsim.abi.known_exports import ALSO_EXPORTED, ROUTINES, VARIABLES, undocumented
from ntsim.host.faces import faces, make_unmodelled
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.exports import EXPORTS, Export, load_rooms
from ntsim.nt.fsrtl.legal import fsrtl_legal_characters
from ntsim.nt.kernel import Kernel
from ntsim.nt.mm import layout
from ntsim.nt.mm.images import EXPORT_BODY, Symbol

BODIES = layout.NT_BASE + 0x1000
DATA = layout.NT_BASE + 0x10_0000
MISSING_DATA, MISSING_SIZE = layout.NT_BASE + 0x18_0000, 0x100
"""Where variables that are not modelled would lie: nothing is mapped there, so that touching one is
noticed."""

RETURN_NAME = "KiReturnFromDriver"
HLT_OFFSET = 25
"""Of HLT in a body: where the engine stops."""

_HOME = bytes.fromhex("48894c2408 4889542410 4c89442418 4c894c2420")
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
    known = {name for name in routines.names() if not routines.lookup(name).inline}
    inline = {name for name, export in EXPORTS.items() if export.inline}
    named = {*ROUTINES, *ALSO_EXPORTED, *undocumented()}
    return tuple(sorted(modelled | (known - inline) | named))


def standing(name: str) -> Standing:
    """What becomes of an import of `name` from the kernel."""
    if name in VARIABLES:
        return Standing.VARIABLE if name in VALUES else Standing.UNMODELLED_VARIABLE
    names = exported_names()
    at = bisect_left(names, name)
    if at == len(names) or names[at] != name:
        return Standing.UNKNOWN
    return Standing.MODELLED if name in EXPORTS or name in OWN else Standing.UNMODELLED


OWN = frozenset(
    "ExRaiseAccessViolation ExRaiseDatatypeMisalignment ExRaiseStatus MmGetSystemRoutineAddress "
    "RtlCaptureContext RtlLookupFunctionEntry RtlPcToFileHeader RtlRaiseException RtlRaiseStatus "
    "RtlRestoreContext RtlUnwind RtlUnwindEx RtlVirtualUnwind __C_specific_handler "
    "_local_unwind _setjmp _setjmpex longjmp".split()
)
"""Routines that mean something else to compiled code: `own_exports`, `seh_exports`."""


def _object_type(name: str) -> Callable[[Kernel], int]:
    return lambda nt: nt.ob.types[name].va if name in nt.ob.types else 0


VALUES: dict[str, Callable[[Kernel], int]] = {
    "PsThreadType": lambda nt: nt.ps.thread_type.va,
    "PsProcessType": lambda nt: nt.ps.process_type.va,
    "PsInitialSystemProcess": lambda nt: nt.ps.system.va,
    "SeExports": lambda nt: nt.se.exports,
    "SeTokenObjectType": lambda nt: nt.se.token_type.va,
    "ExEventObjectType": _object_type("Event"),
    "ExSemaphoreObjectType": _object_type("Semaphore"),
    "MmSectionObjectType": _object_type("Section"),
    "IoFileObjectType": _object_type("File"),
    "IoDeviceObjectType": _object_type("Device"),
    "IoDriverObjectType": _object_type("Driver"),
    "PsJobType": _object_type("Job"),
    "ExDesktopObjectType": _object_type("Desktop"),
    "ExWindowStationObjectType": _object_type("WindowStation"),
    "LpcPortObjectType": _object_type("ALPC Port"),
    "CmKeyObjectType": _object_type("Key"),
    "IoAdapterObjectType": _object_type("Adapter"),
    "IoDeviceHandlerObjectType": lambda nt: 0,  # exported, never created: kmtests ObTypes.c
    "FsRtlLegalAnsiCharacterArray": fsrtl_legal_characters,
    "KdDebuggerEnabled": lambda nt: 0,
    "KdDebuggerNotPresent": lambda nt: 1,
    "KeNumberProcessors": lambda nt: len(nt.processors),
    "MmHighestUserAddress": lambda nt: layout.HIGHEST_USER | 0xFFFF,
    "MmUserProbeAddress": lambda nt: layout.MM_USER_PROBE_ADDRESS,
    "MmSystemRangeStart": lambda nt: 0xFFFF_8000_0000_0000,
    "NtBuildNumber": lambda nt: 0xF000_4A61,
    "NtGlobalFlag": lambda nt: 0,
}
"""What a variable holds; 0 means that this machine has no such object type."""


GUARDS = (
    # test rcx, rcx; jns bad; ret; bad: mov ecx, 10; int 29h
    ("_guard_check_icall", bytes.fromhex("4885c9 7901 c3 b90a000000 cd29")),
    # test rax, rax; jns bad; jmp rax; bad: mov ecx, 10; int 29h
    ("_guard_dispatch_icall", bytes.fromhex("4885c0 7902 ffe0 b90a000000 cd29")),
)
"""What control-flow guard calls. Without HVCI the kernel has no map of valid targets, and refuses
user addresses only (inferred from its code): FAST_FAIL_GUARD_ICALL_CHECK_FAILURE."""


def body(index: int) -> bytes:
    """The code of the export with this number."""
    code = _HOME + b"\xb8" + index.to_bytes(4, "little") + b"\xf4\xc3"
    return code.ljust(EXPORT_BODY, b"\xcc")


class ExportTable:
    """The bodies and variables of one machine. `faces[i]` is what body i calls."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        known_names = exported_names()
        added = sorted(set(nt.stubs).difference(known_names, VARIABLES))
        self.names = (*known_names, *added, RETURN_NAME)
        self.end = BODIES + len(self.names) * EXPORT_BODY
        self.return_address = self.end - EXPORT_BODY + HLT_OFFSET
        known = faces()
        self.faces: list[Callable[..., Any]] = [
            known.get(name) or make_unmodelled(name) for name in self.names
        ]
        self.exports: list[Export | None] = [EXPORTS.get(name) for name in self.names]
        self._numbers = {name: i for i, name in enumerate(self.names)}
        code = b"".join(body(i) for i in range(len(self.names)))
        code += b"".join(data.ljust(EXPORT_BODY, b"\xcc") for _, data in GUARDS)
        self.guards = tuple(self.end + i * EXPORT_BODY for i in range(len(GUARDS)))
        self._map(BODIES, code, executable=True)
        nt.ki.integrity.code.add(BODIES, code)
        self._map(DATA, self._variables(), executable=False)
        image = nt.nt_image
        starts = [BODIES + i * EXPORT_BODY for i in range(len(self.names))]
        symbols = zip(self.names, starts, strict=True)
        guards = zip((name for name, _ in GUARDS), self.guards, strict=True)
        every = [Symbol(name, start, EXPORT_BODY) for name, start in (*symbols, *guards)]
        image.symbols[:0] = every
        image.starts[:0] = [*starts, *self.guards]

    def _variables(self) -> bytes:
        values = (VALUES[name](self.nt) if name in VALUES else 0 for name in VARIABLES)
        return b"".join(value.to_bytes(8, "little") for value in values)

    def _map(self, va: int, data: bytes, executable: bool) -> None:
        mm = self.nt.mm
        for offset in range(0, len(data), PAGE_SIZE):
            pa = mm.frames.take()
            mm.ram.write(pa, data[offset : offset + PAGE_SIZE])
            mm.system.map(va + offset, [pa], executable=executable, writable=not executable)
            if executable:
                mm.system.code.add(pa >> 12)
            else:
                mm.mmu.map_raw(va + offset, mm.ram.address + pa, [pa])

    def number(self, name: str) -> int:
        """The number of a routine that exists."""
        return self._numbers[name]

    def address(self, name: str) -> int | None:
        """Of a routine's body, None if Windows has no such routine."""
        number = self._numbers.get(name)
        return None if number is None or name == RETURN_NAME else BODIES + number * EXPORT_BODY

    def variable(self, name: str) -> int:
        """Address of a variable; one that this machine has not got cannot be touched."""
        number = VARIABLES.index(name)
        address = DATA + 8 * number
        if name in VALUES and (self.nt.read_pointer(address) or name in _ZERO):
            return address
        return MISSING_DATA + MISSING_SIZE * number

    @staticmethod
    def missing_variable(address: int) -> str:
        """The variable that is not modelled and would lie at `address`; empty if none."""
        number = (address - MISSING_DATA) // MISSING_SIZE
        return VARIABLES[number] if 0 <= number < len(VARIABLES) else ""

    def number_at(self, address: int) -> int:
        """The number of the routine whose body `address` is in; -1 if it is in none."""
        return (address - BODIES) // EXPORT_BODY if BODIES <= address < self.end else -1


_ZERO = ("KdDebuggerEnabled", "NtGlobalFlag", "IoDeviceHandlerObjectType")
