"""EPT violations that become exceptions of the guest (#VE).

Source: SDM 3, "Virtualization Exceptions": convertible EPT violations, the information area.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.vmcs import peek, poke

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.ept import EptFault
    from ntsim.hw.vmx.state import VmxState

_IN_USE = 4
"""Offset of the word that is 0 when the area may be written; the processor makes it all ones."""

_AREA = struct.Struct("<IIQQQH")


def recorded(state: VmxState, secondary: int, cr0: int, fault: EptFault) -> bool:
    """Whether the violation is a virtualization exception; then it is in the information area.

    `secondary` are the controls. Not asked for one that happens during event delivery, which is
    never converted.
    """
    if not secondary & abi.SECONDARY_EPT_VIOLATION_VE:
        return False
    if fault.qualification is None or fault.log_full or fault.suppressed or not cr0 & abi.CR0_PE:
        return False
    vmcs, memory = state.current, state.processor.memory
    assert vmcs is not None
    area = vmcs.get(abi.VIRT_EXCEPTION_INFO)
    if any(peek(memory, area + _IN_USE, 4)):
        return False
    said = abi.EXIT_REASON_EPT_VIOLATION, 0xFFFF_FFFF, fault.qualification
    index = vmcs.get(abi.EPTP_INDEX)
    poke(memory, area, _AREA.pack(*said, fault.linear, fault.address, index))
    return True
