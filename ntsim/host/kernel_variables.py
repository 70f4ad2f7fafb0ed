"""Variables that the kernel exports, as Python drivers see them: `ExEventObjectType[0]`."""

from __future__ import annotations

from ntsim.host.current import current_kernel
from ntsim.host.export_table import VALUES

POINTERS = (
    "ExEventObjectType ExSemaphoreObjectType IoDeviceObjectType IoDriverObjectType "
    "IoFileObjectType MmSectionObjectType PsProcessType PsThreadType KdDebuggerEnabled "
    "KdDebuggerNotPresent MmHighestUserAddress MmSystemRangeStart MmUserProbeAddress "
    "NtBuildNumber NtGlobalFlag"
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


KERNEL_VARIABLES = {name: KernelVariable(name) for name in POINTERS}
