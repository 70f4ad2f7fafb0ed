"""What VT-x needs of a logical processor and of memory: the rest of the machine, seen from here.

`ntsim.hw.cpu.Processor` is one. The attributes are the registers themselves: assigning one loads
it with no check and no side effect that an instruction would have; the checks are made here, in
the order in which VM entries and VM exits make them.
"""

from typing import Protocol

from ntsim.hw.cpu_model import CpuModel

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
"""Positions in `VmxUnit.gpr`; R8 to R15 follow, as instructions encode them."""


class Memory(Protocol):
    """Physical memory. Both raise IndexError for addresses that are not RAM."""

    def read(self, pa: int, size: int, /) -> bytes:
        """`size` bytes at physical address `pa`."""
        ...

    def write(self, pa: int, data: bytes, /) -> None:
        """Store `data` at physical address `pa`."""
        ...


class VmcsFields(Protocol):
    """A VMCS, or anything that answers for its fields."""

    @property
    def address(self) -> int:
        """Physical address of its region."""
        ...

    def get(self, encoding: int, /) -> int:
        """A field's value, 0 for one that the processor lacks."""
        ...


class Segment(Protocol):
    """A segment register with its hidden part.

    `access_rights` has the VMCS's format: 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G,
    16 unusable. `limit` is in bytes.
    """

    selector: int
    base: int
    limit: int
    access_rights: int

    def set(self, selector: int, base: int, limit: int, rights: int, /) -> None:
        """Load all four."""
        ...


class DescriptorTable(Protocol):
    """GDTR or IDTR; `limit` in bytes."""

    base: int
    limit: int


class InterruptSource(Protocol):
    """The local APIC."""

    requested: int

    def deliverable(self, cr8: int, /) -> int:
        """The highest pending vector that task priority `cr8` lets through, or -1."""
        ...

    def accept(self, vector: int, /) -> None:
        """The processor takes the interrupt."""
        ...


class VmxProcessor(Protocol):
    """A logical processor, without general registers: a guest's are `VmxUnit.gpr`."""

    number: int
    rip: int
    rsp: int
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    dr: list[int]
    cpl: int
    halted: bool
    mov_ss_blocking: bool
    budget: int
    """What is left of its turn; an instruction of a guest uses up 1, and its time passes."""

    @property
    def msrs(self) -> dict[int, int]:
        """MSRs by index, but for those that are registers elsewhere (FS and GS base, the TSC)."""
        ...

    @property
    def segments(self) -> bytearray:
        """All segment registers, GDTR and IDTR: `ntsim.hw.cpu.pack_segments`."""
        ...

    @property
    def model(self) -> CpuModel:
        """What the processor is."""
        ...

    @property
    def memory(self) -> Memory:
        """Physical memory."""
        ...

    @property
    def apic(self) -> InterruptSource:
        """Where interrupts come from."""
        ...

    @property
    def efer(self) -> int:
        """IA32_EFER; loaded with `write_msr`."""
        ...

    @property
    def cs(self) -> Segment: ...
    @property
    def ss(self) -> Segment: ...
    @property
    def ds(self) -> Segment: ...
    @property
    def es(self) -> Segment: ...
    @property
    def fs(self) -> Segment: ...
    @property
    def gs(self) -> Segment: ...
    @property
    def ldtr(self) -> Segment: ...
    @property
    def tr(self) -> Segment: ...
    @property
    def gdtr(self) -> DescriptorTable: ...
    @property
    def idtr(self) -> DescriptorTable: ...

    def read_msr(self, index: int, /) -> int:
        """An MSR that exists, unchecked."""
        ...

    def write_msr(self, index: int, value: int, /) -> None:
        """Load an MSR, unchecked."""
        ...

    def rdmsr(self, index: int, /) -> int:
        """RDMSR; ProcessorException (#GP) for an MSR that the model lacks."""
        ...

    def wrmsr(self, index: int, value: int, /) -> None:
        """WRMSR; ProcessorException (#GP) for an MSR that the model lacks or a value it refuses."""
        ...

    def cpuid(self, leaf: int, subleaf: int, /) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX."""
        ...

    def mov_to_cr(self, number: int, value: int, /) -> None:
        """MOV to CR0, CR3, CR4 or CR8 with its checks; ProcessorException (#GP)."""
        ...

    def invpcid(self, kind: int, descriptor: int, address: int, /) -> bool:
        """INVPCID with its checks; ProcessorException (#UD, #GP)."""
        ...

    def mov_from_dr(self, number: int, /) -> int:
        """MOV from a debug register with its checks; ProcessorException (#UD, #DB)."""
        ...

    def mov_to_dr(self, number: int, value: int, /) -> None:
        """MOV to a debug register with its checks; ProcessorException (#UD, #DB, #GP)."""
        ...

    def port_in(self, port: int, size: int, /) -> int:
        """IN of `size` bytes."""
        ...

    def port_out(self, port: int, size: int, value: int, /) -> None:
        """OUT of `size` bytes."""
        ...
