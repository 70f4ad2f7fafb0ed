"""Variables that the kernel exports, as Python drivers see them: `ExEventObjectType[0]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntsim.abi.se import SE_EXPORTS
from ntsim.host.current import current_kernel
from ntsim.nt.fsrtl.legal import fsrtl_legal_characters
from ntsim.nt.kernel import Kernel
from ntsim.nt.mm import layout


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
    "InitSafeBootMode": lambda nt: 0,
    "Mm64BitPhysicalAddress": lambda nt: 1,
    "NlsMbCodePageTag": lambda nt: 0,  # code page 1252 has no lead bytes
    "NlsMbOemCodePageTag": lambda nt: 0,
    "NlsAnsiCodePage": lambda nt: 1252,
    "NlsOemCodePage": lambda nt: 437,
    "KdEnteredDebugger": lambda nt: 0,
    "KeLoaderBlock": lambda nt: 0,  # phase 1 has freed it
    "PsUILanguageComitted": lambda nt: 0x409,
}
"""What a variable holds; 0 means that this machine has no such object type, but for `ZERO`."""

ZERO = frozenset(
    "KdDebuggerEnabled NtGlobalFlag IoDeviceHandlerObjectType InitSafeBootMode KdEnteredDebugger "
    "KeLoaderBlock NlsMbCodePageTag NlsMbOemCodePageTag".split()
)
"""Variables that hold 0 on the Windows that is modelled, too."""

ARRAYS = {"NtBuildLab": b"19041.1.amd64fre.vb_release.191206-1406\0"}
"""Variables that are longer than a pointer: what they hold."""


POINTERS = (
    "ExEventObjectType ExSemaphoreObjectType IoDeviceObjectType IoDriverObjectType "
    "IoFileObjectType MmSectionObjectType PsProcessType PsThreadType KdDebuggerEnabled "
    "KdDebuggerNotPresent MmHighestUserAddress MmSystemRangeStart MmUserProbeAddress "
    "NtBuildNumber NtGlobalFlag SeTokenObjectType FsRtlLegalAnsiCharacterArray PsJobType "
    "ExDesktopObjectType ExWindowStationObjectType LpcPortObjectType CmKeyObjectType "
    "IoAdapterObjectType IoDeviceHandlerObjectType"
).split()
"""Those that the headers declare as pointers: `*ExEventObjectType` in C."""


class KernelVariable:
    """A pointer to a variable of whichever machine the driver runs on."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, index: int) -> int:
        if index:
            raise IndexError(f"{self.name} points to one variable: {self.name}[0]")
        return VALUES[self.name](current_kernel(self.name))

    def __repr__(self) -> str:
        return f"{self.name} (a pointer to a variable of the kernel: {self.name}[0])"


class SeExportsVariable:
    """`SeExports`, a pointer to SE_EXPORTS: its fields are attributes."""

    def __getattr__(self, name: str) -> Any:
        nt = current_kernel("SeExports")
        return getattr(SE_EXPORTS.at(nt.mmu, nt.se.exports), name)

    def __repr__(self) -> str:
        return "SeExports (a pointer to SE_EXPORTS, the well-known privileges and SIDs)"


KERNEL_VARIABLES: dict[str, object] = {name: KernelVariable(name) for name in POINTERS}
KERNEL_VARIABLES["SeExports"] = SeExportsVariable()
