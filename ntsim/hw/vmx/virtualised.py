"""A processor in VMX non-root operation whose guest is code that Python executes.

A driver that virtualises the running system makes the kernel itself, its drivers and its apps the
guest. Their privileged operations are methods of the `Processor`, so a processor changes its class
while it runs such a guest: each operation here asks the VM-execution controls first and exits if
they say so. A machine without VT-x never pays for it.

An exit is `VmxUnit.leave_system`, which the room that knows stacks provides. It comes back when the
guest goes on: True if RIP was moved past the instruction, which then has the results that the
general registers hold; False if the instruction is to be executed again, by whatever rules hold
then. An event that the VM entry injected raises there.
Source: SDM 3, "VMX Non-Root Operation".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import vmx_constants as abi
from ntsim.hw.cpu import IA32_TSC, Processor
from ntsim.hw.exceptions import ProcessorException, invalid_opcode
from ntsim.hw.vmx.exit_information import ExitInformation
from ntsim.hw.vmx.guest import pause_loops
from ntsim.hw.vmx.guest.controls import controls_of
from ntsim.hw.vmx.guest.time import guest_tsc
from ntsim.hw.vmx.interruption import Event
from ntsim.hw.vmx.protocols import RAX, RBX, RCX, RDX
from ntsim.hw.vmx.results import WouldExit
from ntsim.hw.vmx.vmcs import peek

if TYPE_CHECKING:
    from ntsim.hw.vmx.guest.controls import Controls

_LOW_32 = 0xFFFF_FFFF
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_HIGH_MSRS, _MSRS = 0xC000_0000, 0x2000
_MOV_FROM = 1 << 4
_IN = 1 << 3
_TABLE_EXITS = {
    "sgdt": (abi.EXIT_REASON_GDTR_IDTR_ACCESS, 0),
    "sidt": (abi.EXIT_REASON_GDTR_IDTR_ACCESS, 1),
    "lgdt": (abi.EXIT_REASON_GDTR_IDTR_ACCESS, 2),
    "lidt": (abi.EXIT_REASON_GDTR_IDTR_ACCESS, 3),
    "sldt": (abi.EXIT_REASON_LDTR_TR_ACCESS, 0),
    "str": (abi.EXIT_REASON_LDTR_TR_ACCESS, 1),
}
"""Exit reason, and the instruction identity in bits 29:28 of the instruction information."""

_ADDRESS_SIZE_64 = 2 << 7
_INVPCID_OPERANDS = _ADDRESS_SIZE_64 | 3 << 15 | 1 << 22 | RDX << 23 | RCX << 28
"""64-bit address, DS, no index, the base and the register."""
_STORE_EXITING = {3: abi.CPU_BASED_CR3_STORE_EXITING, 8: abi.CPU_BASED_CR8_STORE_EXITING}

_cr3: Any = vars(Processor)["cr3"]
_cr8: Any = vars(Processor)["cr8"]
"""The registers themselves, which the properties below stand before."""


class VirtualisedProcessor(Processor):
    """The same processor, between a VM entry into a system guest and the next VM exit."""

    __slots__ = ()

    # Controls

    @property
    def controls(self) -> Controls:
        """The VM-execution controls that hold now."""
        return controls_of(self.vmx.current)

    def _exit(
        self, reason: int, qualification: int = 0, length: int = 0, information: int = 0
    ) -> bool:
        """Exit; whether the instruction is over when the guest goes on."""
        cause = ExitInformation(reason, qualification, length, information)
        return bool(self.vmx.leave_system(cause))

    # Identification and time

    def cpuid(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
        """Always an exit."""
        gpr = self.vmx.gpr
        gpr[RAX], gpr[RCX] = leaf & _LOW_32, subleaf & _LOW_32
        while virtualised(self):
            if self._exit(abi.EXIT_REASON_CPUID, 0, 2):
                a, b, c, d = (int(gpr[i]) & _LOW_32 for i in (RAX, RBX, RCX, RDX))
                return a, b, c, d
            leaf, subleaf = int(gpr[RAX]), int(gpr[RCX])
        return Processor.cpuid(self, leaf, subleaf)

    def rdtsc(self, counter: int) -> int:
        """RDTSC exiting, TSC offsetting."""
        while virtualised(self) and self.controls.primary & abi.CPU_BASED_RDTSC_EXITING:
            if self._exit(abi.EXIT_REASON_RDTSC, 0, 2):
                return self._pair()
        return self._offset(counter)

    def rdtscp(self, counter: int) -> tuple[int, int]:
        """#UD without "enable RDTSCP"; exits as RDTSC does, with a reason of its own."""
        gpr = self.vmx.gpr
        while virtualised(self):
            if not self.controls.secondary & abi.SECONDARY_ENABLE_RDTSCP:
                raise invalid_opcode('RDTSCP without "enable RDTSCP"')
            if not self.controls.primary & abi.CPU_BASED_RDTSC_EXITING:
                break
            if self._exit(abi.EXIT_REASON_RDTSCP, 0, 3):
                return self._pair(), int(gpr[RCX]) & _LOW_32
        return self._offset(counter), self.msrs[abi.IA32_TSC_AUX]

    def _offset(self, counter: int) -> int:
        return guest_tsc(self.vmx.current, self.controls, counter) if virtualised(self) else counter

    def _pair(self) -> int:
        gpr = self.vmx.gpr
        return (int(gpr[RDX]) & _LOW_32) << 32 | int(gpr[RAX]) & _LOW_32

    # MSRs

    def _msr_exits(self, index: int, write: bool) -> bool:
        """No bitmaps, an index outside both ranges, or its bit."""
        if not self.controls.primary & abi.CPU_BASED_USE_MSR_BITMAPS:
            return True
        if index < _MSRS:
            offset = 0
        elif _HIGH_MSRS <= index < _HIGH_MSRS + _MSRS:
            offset, index = 0x400, index - _HIGH_MSRS
        else:
            return True
        offset += (0x800 if write else 0) + (index >> 3)
        byte = peek(self.memory, self.vmx.current.get(abi.MSR_BITMAP) + offset, 1)[0]
        return bool(byte >> (index & 7) & 1)

    def rdmsr(self, index: int) -> int:
        """MSR bitmaps; IA32_TIME_STAMP_COUNTER is offset as RDTSC is."""
        index &= _LOW_32
        gpr = self.vmx.gpr
        gpr[RCX] = index
        while virtualised(self) and self._msr_exits(index, write=False):
            if self._exit(abi.EXIT_REASON_RDMSR, 0, 2):
                return self._pair()
            index = int(gpr[RCX]) & _LOW_32
        value = Processor.rdmsr(self, index)
        return self._offset(value) if index == IA32_TSC else value

    def wrmsr(self, index: int, value: int) -> None:
        """MSR bitmaps."""
        index &= _LOW_32
        gpr = self.vmx.gpr
        gpr[RCX], gpr[RAX], gpr[RDX] = index, value & _LOW_32, value >> 32 & _LOW_32
        while virtualised(self) and self._msr_exits(index, write=True):
            if self._exit(abi.EXIT_REASON_WRMSR, 0, 2):
                return
            index, value = int(gpr[RCX]) & _LOW_32, self._pair()
        Processor.wrmsr(self, index, value)

    # Control registers

    def mov_from_cr(self, number: int) -> int:
        """CR0 and CR4 through their read shadows; CR3 and CR8 with their store exiting."""
        control = _STORE_EXITING.get(number, 0)
        while virtualised(self) and self.controls.primary & control:
            if self._exit(abi.EXIT_REASON_CR_ACCESS, number | _MOV_FROM | RAX << 8, 3):
                return int(self.vmx.gpr[RAX])
        value = Processor.mov_from_cr(self, number)
        if virtualised(self) and number in (0, 4):
            mask, shadow = self._masks(number)
            return shadow & mask | value & ~mask
        return value

    def mov_to_cr(self, number: int, value: int) -> None:
        """Guest/host masks of CR0 and CR4; loads of CR3 and CR8 exit where they are made."""
        while virtualised(self) and number in (0, 4):
            mask, shadow = self._masks(number)
            if not (value ^ shadow) & mask:
                value = value & ~mask | Processor.mov_from_cr(self, number) & mask
                break
            if self._cr_exit(number, value):
                return
            value = int(self.vmx.gpr[RAX])
        while number == 3 and virtualised(self) and self.cr3_exits(value):
            if self._cr_exit(3, value):  # before the value is looked at
                return
            value = int(self.vmx.gpr[RAX])
        Processor.mov_to_cr(self, number, value)

    def _masks(self, number: int) -> tuple[int, int]:
        get = self.vmx.current.get
        if number == 0:
            return get(abi.CR0_GUEST_HOST_MASK), get(abi.CR0_READ_SHADOW)
        return get(abi.CR4_GUEST_HOST_MASK), get(abi.CR4_READ_SHADOW)

    def _cr_exit(self, number: int, value: int) -> bool:
        self.vmx.gpr[RAX] = value
        return self._exit(abi.EXIT_REASON_CR_ACCESS, number | RAX << 8, 3)

    def _load_cr3(self, value: int) -> None:
        while virtualised(self) and self.cr3_exits(value):
            if self._cr_exit(3, value):
                return
            value = int(self.vmx.gpr[RAX])
        _cr3.__set__(self, value)

    def cr3_exits(self, value: int) -> bool:
        """CR3-load exiting, for all but the CR3-target values."""
        if not self.controls.primary & abi.CPU_BASED_CR3_LOAD_EXITING:
            return False
        get = self.vmx.current.get
        count = get(abi.CR3_TARGET_COUNT)
        return value not in [get(abi.CR3_TARGET_VALUE0 + 2 * i) for i in range(count)]

    def _load_cr8(self, value: int) -> None:
        while virtualised(self) and self.controls.primary & abi.CPU_BASED_CR8_LOAD_EXITING:
            if self._cr_exit(8, value):
                return
            value = int(self.vmx.gpr[RAX])
        _cr8.__set__(self, value)

    cr3 = property(lambda self: _cr3.__get__(self), _load_cr3)
    """The kernel loads CR3 at every change of address space."""

    cr8 = property(lambda self: _cr8.__get__(self), _load_cr8)
    """The kernel loads CR8 at every change of IRQL."""

    # Debug registers, counters, MONITOR

    def _dr_exit(self, number: int, direction: int) -> bool:
        return self._exit(abi.EXIT_REASON_MOV_DR, number & 7 | direction | RAX << 8, 3)

    def mov_from_dr(self, number: int) -> int:
        """MOV-DR exiting."""
        while virtualised(self) and self.controls.primary & abi.CPU_BASED_MOV_DR_EXITING:
            if self._dr_exit(number, _MOV_FROM):
                return int(self.vmx.gpr[RAX])
        return Processor.mov_from_dr(self, number)

    def mov_to_dr(self, number: int, value: int) -> None:
        """MOV-DR exiting."""
        while virtualised(self) and self.controls.primary & abi.CPU_BASED_MOV_DR_EXITING:
            self.vmx.gpr[RAX] = value
            if self._dr_exit(number, 0):
                return
            value = int(self.vmx.gpr[RAX])
        Processor.mov_to_dr(self, number, value)

    def rdpmc(self, counter: int) -> int:
        """RDPMC exiting."""
        while virtualised(self) and self.controls.primary & abi.CPU_BASED_RDPMC_EXITING:
            self.vmx.gpr[RCX] = counter & _LOW_32
            if self._exit(abi.EXIT_REASON_RDPMC, 0, 2):
                return self._pair()
            counter = int(self.vmx.gpr[RCX])
        return Processor.rdpmc(self, counter)

    def monitor(self, address: int) -> None:
        """MONITOR exiting."""
        self.vmx.gpr[RAX] = address
        self._unless(abi.CPU_BASED_MONITOR_EXITING, abi.EXIT_REASON_MONITOR, 0, 3)

    def mwait(self) -> None:
        """MWAIT exiting."""
        self._unless(abi.CPU_BASED_MWAIT_EXITING, abi.EXIT_REASON_MWAIT, 0, 3)

    # Ports

    def _io_exits(self, port: int, size: int) -> bool:
        primary, get = self.controls.primary, self.vmx.current.get
        if not primary & abi.CPU_BASED_USE_IO_BITMAPS:
            return bool(primary & abi.CPU_BASED_UNCONDITIONAL_IO_EXITING)
        if port + size > 0x10000:
            return True
        for one in range(port, port + size):
            bitmap = get(abi.IO_BITMAP_A if one < 0x8000 else abi.IO_BITMAP_B)
            byte = peek(self.memory, bitmap + (one & 0x7FFF) // 8, 1)[0]
            if byte >> (one & 7) & 1:
                return True
        return False

    def _port_exit(self, port: int, size: int, direction: int) -> bool:
        """With the port in DX: one byte of instruction, two with an operand-size prefix."""
        self.vmx.gpr[RDX] = port
        qualification = size - 1 | direction | port << 16
        return self._exit(abi.EXIT_REASON_IO_INSTRUCTION, qualification, 2 if size == 2 else 1)

    def port_in(self, port: int, size: int) -> int:
        """Unconditional I/O exiting, or the I/O bitmaps."""
        while virtualised(self) and self._io_exits(port, size):
            if self._port_exit(port, size, _IN):
                return int(self.vmx.gpr[RAX]) & (1 << 8 * size) - 1
            port = int(self.vmx.gpr[RDX]) & 0xFFFF
        return Processor.port_in(self, port, size)

    def port_out(self, port: int, size: int, value: int) -> None:
        """Unconditional I/O exiting, or the I/O bitmaps."""
        while virtualised(self) and self._io_exits(port, size):
            self.vmx.gpr[RAX] = value
            if self._port_exit(port, size, 0):
                return
            port, value = int(self.vmx.gpr[RDX]) & 0xFFFF, int(self.vmx.gpr[RAX])
        Processor.port_out(self, port, size, value)

    # Instructions whose effect is their caller's: whether there is to be one

    def hlt(self) -> bool:
        """HLT exiting."""
        halts = self._unless(abi.CPU_BASED_HLT_EXITING, abi.EXIT_REASON_HLT, 0, 1)
        if halts and virtualised(self):
            self.vmx.activity = abi.ACTIVITY_STATE_HLT
        return halts

    def awake(self) -> None:
        """The activity state is active again."""
        self.vmx.activity = abi.ACTIVITY_STATE_ACTIVE

    def pause(self) -> bool:
        """PAUSE exiting, PAUSE-loop exiting."""
        while virtualised(self):
            controls = self.controls
            exiting = controls.primary & abi.CPU_BASED_PAUSE_EXITING
            if not exiting and not pause_loops.ends(self.vmx, controls, self.cpl):
                break
            if self._exit(abi.EXIT_REASON_PAUSE, 0, 2):
                return False
        return True

    def invlpg(self, address: int) -> bool:
        """INVLPG exiting; the qualification is the linear address."""
        return self._unless(abi.CPU_BASED_INVLPG_EXITING, abi.EXIT_REASON_INVLPG, address, 3)

    def invpcid(self, kind: int, descriptor: int, address: int, place: int = 0) -> bool:
        """#UD without "enable INVPCID"; exits with INVLPG exiting, as INVPCID RCX, [RDX]."""
        gpr = self.vmx.gpr
        while virtualised(self):
            if not self.controls.secondary & abi.SECONDARY_ENABLE_INVPCID:
                raise invalid_opcode('INVPCID without "enable INVPCID"')
            if not self.controls.primary & abi.CPU_BASED_INVLPG_EXITING:
                break
            gpr[RCX], gpr[RDX] = kind, place
            if self._exit(abi.EXIT_REASON_INVPCID, 0, 5, _INVPCID_OPERANDS):
                return False
            kind, place = int(gpr[RCX]), int(gpr[RDX])
        return Processor.invpcid(self, kind, descriptor, address)

    def _unless(self, control: int, reason: int, qualification: int, length: int) -> bool:
        while virtualised(self) and self.controls.primary & control:
            if self._exit(reason, qualification, length):
                return False
        return True

    def wbinvd(self) -> None:
        """WBINVD exiting."""
        while virtualised(self) and self.controls.secondary & abi.SECONDARY_WBINVD_EXITING:
            if self._exit(abi.EXIT_REASON_WBINVD_WBNOINVD, 0, 2):
                return

    def descriptor_table(self, name: str) -> bool:
        """Descriptor-table exiting: SGDT, SIDT, LGDT, LIDT, SLDT, STR."""
        control = abi.SECONDARY_DESCRIPTOR_TABLE_EXITING
        while virtualised(self) and self.controls.secondary & control:
            reason, identity = _TABLE_EXITS[name]
            if self._exit(reason, 0, 3, identity << 28 | _ADDRESS_SIZE_64):
                return False
        return True

    # VMX instructions and exceptions

    def would_exit(self, cause: WouldExit) -> bool:
        """A VMX instruction of the guest."""
        return self._exit(
            cause.reason,
            cause.qualification,
            cause.instruction_length,
            cause.instruction_information,
        )

    def excepted(self, error: ProcessorException) -> bool | None:
        """Whether the instruction is over, if the exception bitmap takes the exception."""
        event = Event.exception(error.vector, error.error_code)
        vmcs = self.vmx.current
        chosen = bool(vmcs.get(abi.EXCEPTION_BITMAP) >> error.vector & 1)
        if error.vector == abi.VECTOR_PF:
            masked = (error.error_code or 0) & vmcs.get(abi.PAGE_FAULT_ERROR_CODE_MASK)
            chosen = (masked == vmcs.get(abi.PAGE_FAULT_ERROR_CODE_MATCH)) == chosen
        if not chosen:
            return None
        length = 1 if event.is_software else 0
        has_address = error.vector in (abi.VECTOR_PF, abi.VECTOR_DB)
        qualification = error.address if has_address else 0
        cause = ExitInformation(
            abi.EXIT_REASON_EXCEPTION_OR_NMI, qualification, length, event=event
        )
        return bool(self.vmx.leave_system(cause))


def virtualised(processor: Processor) -> bool:
    """Whether a guest still runs: its hypervisor may have gone away at the last exit."""
    return type(processor) is VirtualisedProcessor
