"""Variables that the kernel exports, as Python drivers see them: `ExEventObjectType[0]`."""

from __future__ import annotations

from typing import Any

from ntsim.abi.se import SE_EXPORTS
from ntsim.host.current import current_kernel
from ntsim.host.export_table import VALUES

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
