"""What a processor's VT-x can do, decoded from its capability MSRs.

Source: SDM 3, appendix "VMX Capability Reporting Facility". Where IA32_VMX_BASIC[55] is set, the
TRUE_* MSRs say which controls may be 0 and 1; the older four then only repeat the default1 class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.silicon import Mask

PAGE_MASK = 0xFFF
FOUR_AND_THREE_COUNTERS = 0x7_0000_000F
"""IA32_PERF_GLOBAL_CTRL of four general-purpose and three fixed counters: bits 3:0 and 34:32."""
_LOW_32 = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class ControlCapability:
    """One set of controls: `must_be_one` (allowed-0 settings), `may_be_one` (allowed-1).

    `name` is the MSR's. `withheld` has bits that silicon allows and the model does not, with why.
    """

    name: str
    must_be_one: int
    may_be_one: int
    withheld: tuple[tuple[int, str], ...] = ()

    @classmethod
    def from_msr(
        cls, name: str, value: int, withheld: tuple[tuple[int, str], ...] = ()
    ) -> "ControlCapability":
        """Lower half: a 1 must be 1. Upper half: a 0 must be 0."""
        return cls(name, value & _LOW_32, value >> 32, withheld)

    def why_withheld(self, controls: int) -> str:
        """Why the model lacks what silicon has of `controls`; empty where silicon lacks it too."""
        return "; ".join(reason for bits, reason in self.withheld if bits & controls)

    def missing(self, controls: int) -> int:
        """Bits that have to be 1 and are 0."""
        return self.must_be_one & ~controls

    def excess(self, controls: int) -> int:
        """Bits that have to be 0 and are 1."""
        return controls & ~self.may_be_one

    def adjust(self, wanted: int) -> int:
        """What a driver computes from the MSR: wanted, and required, and nothing unsupported."""
        return (wanted | self.must_be_one) & self.may_be_one


@dataclass(frozen=True, slots=True)
class FixedBits:
    """A control register in VMX operation: bits of `must_be_one` are 1, those outside
    `may_be_one` are 0.
    """

    must_be_one: int
    may_be_one: int

    def missing(self, value: int) -> int:
        """Bits that have to be 1 and are 0."""
        return self.must_be_one & ~value

    def excess(self, value: int) -> int:
        """Bits that have to be 0 and are 1."""
        return value & ~self.may_be_one

    def allows(self, value: int) -> bool:
        """Whether the register may hold `value`."""
        return not (self.missing(value) or self.excess(value))


@dataclass(frozen=True, slots=True)
class Misc:
    """IA32_VMX_MISC."""

    value: int

    @property
    def preemption_timer_shift(self) -> int:
        """The VMX-preemption timer counts down once each 2**shift TSC ticks."""
        return self.value & 0x1F

    @property
    def stores_lma(self) -> bool:
        """VM exits store IA32_EFER.LMA into the "IA-32e mode guest" VM-entry control."""
        return bool(self.value & 1 << 5)

    def supports_activity(self, state: int) -> bool:
        """0 active, 1 HLT, 2 shutdown, 3 wait-for-SIPI."""
        return state == 0 or (1 <= state <= 3 and bool(self.value >> 5 + state & 1))

    @property
    def cr3_targets(self) -> int:
        """How many CR3-target values there are."""
        return self.value >> 16 & 0x1FF

    @property
    def recommended_msr_list_length(self) -> int:
        """Entries an MSR area should not exceed."""
        return 512 * ((self.value >> 25 & 7) + 1)

    @property
    def vmwrite_any_field(self) -> bool:
        """VMWRITE may write VM-exit information fields."""
        return bool(self.value & 1 << 29)

    @property
    def injects_zero_length(self) -> bool:
        """Software events may be injected with an instruction length of 0."""
        return bool(self.value & 1 << 30)


@dataclass(frozen=True, slots=True)
class EptVpid:
    """IA32_VMX_EPT_VPID_CAP."""

    value: int

    def _bit(self, position: int) -> bool:
        return bool(self.value >> position & 1)

    @property
    def execute_only(self) -> bool:
        """Entries may allow fetches without reads."""
        return self._bit(0)

    def supports_walk(self, levels: int) -> bool:
        """Page-walk lengths 4 and 5."""
        return (levels == 4 and self._bit(6)) or (levels == 5 and self._bit(7))

    def supports_memory_type(self, memory_type: int) -> bool:
        """0 uncacheable, 6 write-back, for the EPT structures themselves."""
        return (memory_type == 0 and self._bit(8)) or (memory_type == 6 and self._bit(14))

    @property
    def pages_2m(self) -> bool:
        """A page-directory entry may map 2 MBytes."""
        return self._bit(16)

    @property
    def pages_1g(self) -> bool:
        """A page-directory-pointer-table entry may map 1 GByte."""
        return self._bit(17)

    @property
    def accessed_dirty(self) -> bool:
        """EPTP bit 6 may turn on accessed and dirty flags."""
        return self._bit(21)

    @property
    def advanced_information(self) -> bool:
        """Exit qualifications of EPT violations have the rights of the linear page."""
        return self._bit(22)

    @property
    def invept(self) -> bool:
        """INVEPT exists."""
        return self._bit(20)

    def invept_type(self, kind: int) -> bool:
        """1 single-context, 2 all-context."""
        return (kind == 1 and self._bit(25)) or (kind == 2 and self._bit(26))

    @property
    def invvpid(self) -> bool:
        """INVVPID exists."""
        return self._bit(32)

    def invvpid_type(self, kind: int) -> bool:
        """0 individual address, 1 single-context, 2 all-context, 3 single without globals."""
        return 0 <= kind <= 3 and self._bit(40 + kind)


@dataclass(frozen=True, slots=True)
class VmxCapabilities:
    """Everything software can learn about VT-x of one processor model.

    `perf_global_ctrl` has the bits that IA32_PERF_GLOBAL_CTRL may have (CPUID.0AH).
    """

    revision_id: int
    region_size: int
    memory_type: int
    reports_ins_outs: bool
    any_error_code: bool
    pin_based: ControlCapability
    primary: ControlCapability
    secondary: ControlCapability
    tertiary: ControlCapability
    vm_exit: ControlCapability
    secondary_exit: ControlCapability
    vm_entry: ControlCapability
    cr0: FixedBits
    cr4: FixedBits
    misc: Misc
    ept_vpid: EptVpid
    vm_functions: int
    physical_address_bits: int
    linear_address_bits: int = 48
    perf_global_ctrl: int = FOUR_AND_THREE_COUNTERS

    @classmethod
    def of_model(cls, model: CpuModel) -> "VmxCapabilities":
        """Those of a machine's processors."""
        return cls.from_msrs(
            model.msrs, model.physical_address_bits, model.perf_global_ctrl, model.withheld
        )

    @classmethod
    def from_msrs(
        cls,
        msrs: Mapping[int, int],
        physical_address_bits: int,
        perf_global_ctrl: int = FOUR_AND_THREE_COUNTERS,
        withheld: Callable[[int], tuple[Mask, ...]] = lambda msr: (),
    ) -> "VmxCapabilities":
        """Decode; an MSR that the model lacks reads as 0, the TRUE_* ones only if BASIC[55].

        `withheld` gives the bits of an MSR that the model lacks and silicon has.
        """

        def read(msr: int) -> int:
            return msrs.get(msr, 0)

        basic = read(abi.IA32_VMX_BASIC)
        true = bool(basic & 1 << 55)

        def controls(name: str) -> ControlCapability:
            full = f"IA32_VMX_TRUE_{name}" if true else f"IA32_VMX_{name}"
            return one(full)

        def one(name: str) -> ControlCapability:
            msr = getattr(abi, name)
            lacks = tuple((mask.bits >> 32, mask.reason) for mask in withheld(msr))
            return ControlCapability.from_msr(f"{name} ({msr:X}H)", read(msr), lacks)

        primary = controls("PROCBASED_CTLS")
        vm_exit = controls("EXIT_CTLS")
        return cls(
            revision_id=basic & 0x7FFF_FFFF,
            region_size=basic >> 32 & 0x1FFF,
            memory_type=basic >> 50 & 0xF,
            reports_ins_outs=bool(basic & 1 << 54),
            any_error_code=bool(basic & 1 << 56),
            pin_based=controls("PINBASED_CTLS"),
            primary=primary,
            secondary=one("IA32_VMX_PROCBASED_CTLS2"),
            tertiary=ControlCapability(
                "IA32_VMX_PROCBASED_CTLS3 (492H)", 0, read(abi.IA32_VMX_PROCBASED_CTLS3)
            ),
            vm_exit=vm_exit,
            secondary_exit=ControlCapability(
                "IA32_VMX_EXIT_CTLS2 (493H)", 0, read(abi.IA32_VMX_EXIT_CTLS2)
            ),
            vm_entry=controls("ENTRY_CTLS"),
            cr0=FixedBits(read(abi.IA32_VMX_CR0_FIXED0), read(abi.IA32_VMX_CR0_FIXED1)),
            cr4=FixedBits(read(abi.IA32_VMX_CR4_FIXED0), read(abi.IA32_VMX_CR4_FIXED1)),
            misc=Misc(read(abi.IA32_VMX_MISC)),
            ept_vpid=EptVpid(read(abi.IA32_VMX_EPT_VPID_CAP)),
            vm_functions=read(abi.IA32_VMX_VMFUNC),
            physical_address_bits=physical_address_bits,
            perf_global_ctrl=perf_global_ctrl,
        )

    def within_physical_width(self, address: int) -> bool:
        """Whether no bit at or above MAXPHYADDR is set."""
        return address >> self.physical_address_bits == 0

    def is_page(self, address: int) -> bool:
        """Whether `address` can name a 4-KByte region: aligned, within the physical width."""
        return not address & PAGE_MASK and self.within_physical_width(address)

    def is_canonical(self, address: int) -> bool:
        """Whether bits 63:47 (with 48 linear-address bits) are all equal."""
        top = address >> self.linear_address_bits - 1
        return top == 0 or top == (1 << 65 - self.linear_address_bits) - 1
