"""A machine reduced to what VT-x needs: RAM, processors, one VMX unit each."""

from collections.abc import Callable

import pytest

from ntsim.hw.clock import Clock
from ntsim.hw.cpu import Processor
from ntsim.hw.cpu_model import DEFAULT, CpuModel
from ntsim.hw.ports import PortBus
from ntsim.hw.ram import Ram
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.events import VmxEvent
from ntsim.hw.vmx.unit import VmxUnit
from ntsim.hw.vmx.vmcs import VmcsDirectory

CR4_VMXE = 1 << 13
REGION_BASE = 0x10_0000


class Rig:
    """`units[n]` is the VT-x of processor n; `events` is what they reported."""

    def __init__(self, processors: int = 1, model: CpuModel = DEFAULT) -> None:
        self.model = model
        self.ram = Ram(0x40_0000)
        self.capabilities = VmxCapabilities.from_msrs(model.msrs, model.physical_address_bits)
        self.directory = VmcsDirectory(self.capabilities)
        self.events: list[VmxEvent] = []
        self.units = [self._unit(n, processors) for n in range(processors)]
        self.unit = self.units[0]
        self.processor = self.unit.processor
        self._next_region = REGION_BASE

    def _unit(self, number: int, processors: int) -> VmxUnit:
        processor = Processor(number, processors, self.model, self.ram, Clock(), PortBus())
        processor.cr4 |= CR4_VMXE
        processor.cs.access_rights = 0xA09B
        unit = VmxUnit(processor, self.directory, self.events.append)
        processor.vmx = unit
        return unit

    def page(self, first_word: int | None = None, fill: int = 0) -> int:
        """A fresh page, its first 32 bits the revision identifier or `first_word`."""
        pa = self._next_region
        self._next_region += 0x1000
        word = self.capabilities.revision_id if first_word is None else first_word
        self.ram.write(pa, word.to_bytes(4, "little") + bytes([fill]) * 4092)
        return pa

    def in_root(self, number: int = 0) -> VmxUnit:
        """The unit of processor `number`, after a VMXON."""
        unit = self.units[number]
        unit.vmxon(self.page())
        assert unit.in_operation
        return unit

    def with_vmcs(self, number: int = 0) -> VmxUnit:
        """In root operation with a cleared VMCS current."""
        unit = self.in_root(number)
        pa = self.page()
        unit.vmclear(pa)
        unit.vmptrld(pa)
        assert unit.current_pointer == pa
        return unit


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    """Builds rigs: make_rig(processors=, model=)."""
    return Rig


@pytest.fixture
def rig() -> Rig:
    """One processor."""
    return Rig()
