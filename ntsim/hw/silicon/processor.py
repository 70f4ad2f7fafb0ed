"""What is known of one processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ntsim.hw.silicon.limits import LIMITS

Leaf = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""

LEAF_1_ECX, LEAF_1_EDX = "CPUID.1:ECX", "CPUID.1:EDX"
LEAF_7_EBX, LEAF_7_ECX, LEAF_7_EDX = "CPUID.(7,0):EBX", "CPUID.(7,0):ECX", "CPUID.(7,0):EDX"
_EXTENDED_1_ECX, _EXTENDED_1_EDX = "CPUID.80000001H:ECX", "CPUID.80000001H:EDX"
_GENUINE_INTEL = (0x756E_6547, 0x6C65_746E, 0x4965_6E69)  # EBX, ECX, EDX
_HIGHEST_EXTENDED_LEAF = 0x8000_0008
_VMX_VMFUNC = 0x491
_VM_FUNCTIONS_ALLOWED = 1 << 32 + 13


@dataclass(frozen=True, slots=True)
class Mask:
    """Bits of a CPUID register or an MSR that silicon has and that read as 0 here, and why."""

    bits: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Silicon:
    """A processor as it reports itself, and from where that is known (`source`).

    `features` maps a CPUID register to its value; `leaves` has the other CPUID leaves, `caches`
    those of leaf 4 as (type and level bits of EAX, whether the package shares it, EBX, sets - 1,
    EDX). `capability_msrs` are IA32_VMX_*. `tsc_hz` is the invariant TSC's frequency,
    `performance_monitoring` is CPUID.0AH; `without_limits` names limits that this model is free of.
    """

    name: str
    brand: str
    source: str
    signature: int
    physical_address_bits: int
    tsc_hz: int
    highest_basic_leaf: int
    features: Mapping[str, int]
    caches: tuple[tuple[int, bool, int, int, int], ...]
    capability_msrs: Mapping[int, int]
    leaves: Mapping[int, Leaf] = field(default_factory=dict)
    firmware_msrs: Mapping[int, int] = field(default_factory=dict)
    performance_monitoring: Leaf = (0, 0, 0, 0)
    without_limits: frozenset[str] = frozenset()
    linear_address_bits: int = 48

    @property
    def highest_extended_leaf(self) -> int:
        """The highest CPUID leaf of the extended range."""
        return _HIGHEST_EXTENDED_LEAF

    def masks(self, register: str | int) -> tuple[Mask, ...]:
        """What is masked of a CPUID register or an MSR, in the order of `limits.LIMITS`."""
        value = self.features[register] if isinstance(register, str) else self._msr(register)
        limits = (limit.without(self.without_limits) for limit in LIMITS.get(register, ()))
        return tuple(
            Mask(limit.bits & value, limit.says(value)) for limit in limits if limit.bits & value
        )

    def registers(self) -> list[str | int]:
        """CPUID feature registers and capability MSRs."""
        return [*self.features, *sorted(self.capability_msrs)]

    def feature(self, register: str) -> int:
        """A CPUID register as the model has it; 0 for one that the processor lacks."""
        if register not in self.features:
            return 0
        value = self.features[register]
        for mask in self.masks(register):
            value &= ~mask.bits
        return value

    def model_msrs(self) -> dict[int, int]:
        """IA32_VMX_* as the model reports them; IA32_VMX_VMFUNC only with "enable VM functions"."""
        msrs = dict(self.capability_msrs)
        for index in msrs:
            for mask in self.masks(index):
                msrs[index] &= ~mask.bits
        if not msrs.get(0x48B, 0) & _VM_FUNCTIONS_ALLOWED:
            msrs.pop(_VMX_VMFUNC, None)
        return msrs

    def fixed_leaves(self) -> dict[int, Leaf]:
        """The CPUID leaves that are the same on every processor of a machine."""
        return {
            0: (self.highest_basic_leaf, *_GENUINE_INTEL),
            5: (0x40, 0x40, 0x3, 0),  # MONITOR line of 64 bytes, no C-state hints
            6: (0x4, 0, 0, 0),  # the APIC timer always runs
            7: (0, self.feature(LEAF_7_EBX), self.feature(LEAF_7_ECX), self.feature(LEAF_7_EDX)),
            0x8000_0000: (_HIGHEST_EXTENDED_LEAF, 0, 0, 0),
            0x8000_0001: (0, 0, self.feature(_EXTENDED_1_ECX), self.feature(_EXTENDED_1_EDX)),
            **{0x8000_0002 + i: leaf for i, leaf in enumerate(_text_registers(self.brand))},
            0x8000_0006: (0, 0, 0x0100_6040, 0),
            0x8000_0007: (0, 0, 0, 0x100),  # invariant TSC
            **self.leaves,
        }

    def _msr(self, index: int) -> int:
        return self.capability_msrs.get(index, 0)


def performance_counters(leaf_a: Leaf) -> int:
    """The bits that IA32_PERF_GLOBAL_CTRL may have set, of CPUID.0AH."""
    eax, _, _, edx = leaf_a
    return (1 << (edx & 0x1F)) - 1 << 32 | (1 << (eax >> 8 & 0xFF)) - 1


def _text_registers(text: str) -> tuple[Leaf, ...]:
    """48 bytes of brand string as three leaves."""
    raw = text.encode("ascii").ljust(48, b"\0")
    words = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 48, 4)]
    return tuple((words[i], words[i + 1], words[i + 2], words[i + 3]) for i in (0, 4, 8))
