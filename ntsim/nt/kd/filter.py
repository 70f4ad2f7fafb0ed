"""Component filter masks: nt!Kd_DEFAULT_Mask and its like.

A message of a component is shown if the bit of its level is set in the component's mask or in
nt!Kd_WIN2000_Mask. Levels 0 to 31 are bit numbers, larger ones masks. At boot the masks come from
the values of the registry key "Debug Print Filter", named like the masks; later they can be changed
by DbgSetDebugFilterState, or in memory with a debugger. Source: WDK "Reading and Filtering
Debugging Messages", dpfilter.h.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus, wdm_constants
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, ULONG
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

FILTER_KEY = (
    "\\Registry\\Machine\\SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Debug Print Filter"
)
COMPONENTS: dict[str, int] = {
    name.removeprefix("DPFLTR_").removesuffix("_ID"): value
    for name, value in vars(wdm_constants).items()
    if name.startswith("DPFLTR_") and name.endswith("_ID")
}
"""Name of a mask (DEFAULT, IHVDRIVER) to its component number."""

COUNT = max(COMPONENTS.values()) + 1
ALWAYS = 0xFFFF_FFFF
"""The component number of messages that only nt!Kd_WIN2000_Mask filters."""


class FilterMasks:
    """The masks as ULONGs in nonpaged memory, by component number; WIN2000's follows the last."""

    def __init__(self, nt: Kernel) -> None:
        size = 4 * (COUNT + 1)
        self.va = nt.allocate_pool(size, "KdMa")
        nt.mmu.write(self.va, bytes(size))
        host = nt.mmu.raw(self.va, size)
        assert host is not None, "nonpaged pool is raw"
        self._masks = (ctypes.c_uint32 * (COUNT + 1)).from_address(host)
        self.load(nt)

    def load(self, nt: Kernel) -> None:
        """What a boot sets: the registry's values; without one 0, and 1 for WIN2000."""
        for name, component in {**COMPONENTS, "WIN2000": COUNT}.items():
            value = nt.cm.get(FILTER_KEY, name)
            without = 1 if component == COUNT else 0
            self._masks[component] = value if isinstance(value, int) else without

    def __getitem__(self, component: int) -> int:
        return self._masks[component]

    def __setitem__(self, component: int, mask: int) -> None:
        self._masks[component] = mask

    @property
    def win2000(self) -> int:
        return self._masks[COUNT]

    @win2000.setter
    def win2000(self, mask: int) -> None:
        self._masks[COUNT] = mask

    def address(self, name: str) -> int:
        """Where nt!Kd_<name>_Mask lies; KeyError for a name that is no component's."""
        return self.va + 4 * (COUNT if name == "WIN2000" else COMPONENTS[name])

    def shows(self, component: int, level: int) -> bool | None:
        """Whether a message is shown; None if there is no such component."""
        if component == ALWAYS:
            mask = 0
        elif 0 <= component < COUNT:
            mask = self._masks[component]
        else:
            return None
        return bool((mask | self._masks[COUNT]) & level_bits(level))


def level_bits(level: int) -> int:
    """A level as a mask."""
    return 1 << level if level < 32 else level


@export(irql="any")
def DbgQueryDebugFilterState(nt: Kernel, ComponentId: ULONG, Level: ULONG) -> NTSTATUS:
    """TRUE (1) if such a message would be shown, FALSE (0) if not. Source: ntddk.h."""
    shown = nt.kd.masks.shows(ComponentId, Level)
    return ntstatus.STATUS_INVALID_PARAMETER_1 if shown is None else int(shown)


@export(irql="any")
def DbgSetDebugFilterState(
    nt: Kernel, ComponentId: ULONG, Level: ULONG, State: BOOLEAN
) -> NTSTATUS:
    """Set (State TRUE) or clear the bits of Level in a component's mask. Source: ntddk.h."""
    masks = nt.kd.masks
    if ComponentId == ALWAYS:
        ComponentId = COUNT
    elif ComponentId >= COUNT:
        return ntstatus.STATUS_INVALID_PARAMETER_1
    bits = level_bits(Level)
    masks[ComponentId] = masks[ComponentId] | bits if State else masks[ComponentId] & ~bits
    return ntstatus.STATUS_SUCCESS
