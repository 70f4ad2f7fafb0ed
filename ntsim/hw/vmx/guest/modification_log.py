"""The page-modification log: which guest-physical pages have become dirty.

Source: SDM 3, "Page-Modification Logging".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.vmcs import poke

if TYPE_CHECKING:
    from ntsim.hw.vmx.state import VmxState

_ENTRIES = 512
_PAGE_MASK = 0xFFF


class PageModificationLog:
    """That of whichever VMCS is current; its index counts down from 511."""

    __slots__ = ("_state",)

    def __init__(self, state: VmxState) -> None:
        self._state = state

    @property
    def has_room(self) -> bool:
        """The PML index is in the range 0 to 511."""
        assert self._state.current is not None
        return self._state.current.get(abi.GUEST_PML_INDEX) < _ENTRIES

    def enter(self, address: int) -> None:
        """A page has become dirty."""
        vmcs = self._state.current
        assert vmcs is not None
        index = vmcs.get(abi.GUEST_PML_INDEX)
        place = vmcs.get(abi.PML_ADDRESS) + 8 * index
        poke(self._state.processor.memory, place, (address & ~_PAGE_MASK).to_bytes(8, "little"))
        vmcs.put(abi.GUEST_PML_INDEX, index - 1 & 0xFFFF)
