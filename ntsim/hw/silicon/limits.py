"""What no model has although its silicon does: features that ntsim does not run, and why.

Masked bits read as 0 in CPUID and in the capability MSRs, so that a driver that asks gets "not
supported" and never meets a feature that is not there. `ntsim doctor` prints what this takes away
from each processor.
"""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """Feature names by bit position of a register, and why they are not there."""

    names: dict[int, str]
    why: str
    shift: int = 0

    @property
    def bits(self) -> int:
        """All of them, as a mask over the register."""
        return sum(1 << position for position in self.names) << self.shift

    def without(self, lifted: frozenset[str]) -> Limit:
        """The limit less the features named."""
        if not lifted.intersection(self.names.values()):
            return self
        kept = {n: name for n, name in self.names.items() if name not in lifted}
        return Limit(kept, self.why, self.shift)

    def says(self, value: int) -> str:
        """A line for people, with the names of the bits that are set in `value`."""
        found = [name for n, name in self.names.items() if value >> n + self.shift & 1]
        return f"{', '.join(found)}: {self.why}"


_NO_VEX = "the engine does not decode VEX encodings"
_NO_EVEX = "the engine does not decode EVEX encodings"
_NO_DECODE = "the engine does not decode it"
_NO_POWER = "no power management, no task-priority messages"
_NO_PT = "Intel PT is not modelled"
_NO_SGX = "SGX is not modelled"
_NO_COUNTERS = "no performance counters"
_NO_APIC_PAGE = "there is no virtual-APIC page"

_LEAF_1_ECX = (
    Limit({2: "DTES64", 4: "DS-CPL", 15: "PDCM"}, "no debug store, no performance counters"),
    Limit({6: "SMX"}, "GETSEC and measured launch are not modelled"),
    Limit({7: "EIST", 8: "TM2", 14: "xTPR"}, _NO_POWER),
    Limit({11: "SDBG"}, "no silicon debug"),
    Limit({12: "FMA", 28: "AVX", 29: "F16C"}, "the engine does not decode VEX arithmetic"),
    Limit({17: "PCID"}, "the platform has no process-context identifiers"),
    Limit({18: "DCA"}, "no direct cache access"),
    Limit({21: "x2APIC", 24: "TSC deadline"}, "the APIC model has neither"),
    Limit({22: "MOVBE"}, _NO_DECODE),
    Limit({26: "XSAVE", 27: "OSXSAVE"}, "the engine decodes neither XSAVE nor XRSTOR"),
    Limit({30: "RDRAND"}, "not in the engine; and randomness would end 'same seed, same run'"),
)
_LEAF_1_EDX = (
    Limit({21: "DS", 31: "PBE"}, "no debug store, no pending-break signal"),
    Limit({22: "ACPI", 29: "TM"}, "no thermal monitoring"),
    Limit({28: "HTT"}, "set when the machine has more than one processor"),
)
_LEAF_7_EBX = (
    Limit({0: "FSGSBASE"}, "the engine does not decode RDFSBASE and its family"),
    Limit({1: "IA32_TSC_ADJUST"}, "is not modelled"),
    Limit({2: "SGX"}, "is not modelled"),
    Limit({4: "HLE", 11: "RTM"}, "the engine has no transactions"),
    Limit({3: "BMI1", 5: "AVX2", 8: "BMI2"}, _NO_VEX),
    Limit({7: "SMEP"}, "the engine does not check it"),
    Limit({14: "MPX"}, "the engine has no bound registers"),
    Limit({16: "AVX512F", 17: "AVX512DQ", 21: "AVX512_IFMA", 28: "AVX512CD"}, _NO_EVEX),
    Limit({30: "AVX512BW", 31: "AVX512VL"}, _NO_EVEX),
    Limit({18: "RDSEED"}, "as RDRAND"),
    Limit({19: "ADX"}, "the engine decodes neither ADCX nor ADOX"),
    Limit({20: "SMAP"}, "not on this platform"),
    Limit({23: "CLFLUSHOPT", 29: "SHA"}, _NO_DECODE),
    Limit({25: "Intel PT"}, "is not modelled"),
)
_LEAF_7_ECX = (
    Limit({2: "UMIP", 3: "PKU"}, "the engine does not check it"),
    Limit({1: "AVX512_VBMI", 6: "AVX512_VBMI2", 11: "AVX512_VNNI", 12: "AVX512_BITALG"}, _NO_EVEX),
    Limit({14: "AVX512_VPOPCNTDQ"}, _NO_EVEX),
    Limit({8: "GFNI", 9: "VAES", 10: "VPCLMULQDQ", 22: "RDPID"}, _NO_DECODE),
    Limit({30: "SGX_LC"}, _NO_SGX),
)
_LEAF_7_EDX = (
    Limit(
        {10: "MD_CLEAR", 26: "IBRS", 27: "STIBP", 28: "L1D_FLUSH", 29: "IA32_ARCH_CAPABILITIES"},
        "nothing speculates here, and the MSRs are not there",
    ),
    Limit({31: "SSBD"}, "nothing speculates here, and the MSRs are not there"),
)

_PIN_BASED = (Limit({7: "posted interrupts"}, _NO_APIC_PAGE),)
_PRIMARY = (Limit({21: "TPR shadow"}, _NO_APIC_PAGE),)
_SECONDARY = (
    Limit({0: "virtualize APIC accesses", 4: "virtualize x2APIC mode"}, _NO_APIC_PAGE),
    Limit({8: "APIC-register virtualization", 9: "virtual-interrupt delivery"}, _NO_APIC_PAGE),
    Limit({11: "RDRAND exiting", 16: "RDSEED exiting"}, "the engine cannot intercept them"),
    Limit({15: "ENCLS exiting", 28: "ENCLV exiting"}, _NO_SGX),
    Limit({19: "conceal VMX from PT", 24: "PT uses guest physical addresses"}, _NO_PT),
    Limit({20: "XSAVES/XRSTORS"}, "the engine decodes neither"),
    Limit(
        {22: "mode-based execute control for EPT"}, "the engine's nested tables have no such bit"
    ),
    Limit({29: "bit 29"}, "the SDM does not describe it"),
)
_EXIT = (
    Limit({12: "load IA32_PERF_GLOBAL_CTRL"}, _NO_COUNTERS),
    Limit({23: "clear IA32_BNDCFGS"}, "no MPX"),
    Limit({24: "conceal VMX from PT", 25: "clear IA32_RTIT_CTL"}, _NO_PT),
)
_ENTRY = (
    Limit({13: "load IA32_PERF_GLOBAL_CTRL"}, _NO_COUNTERS),
    Limit({16: "load IA32_BNDCFGS"}, "no MPX"),
    Limit({17: "conceal VMX from PT", 18: "load IA32_RTIT_CTL"}, _NO_PT),
)

LIMITS: dict[str | int, tuple[Limit, ...]] = {
    "CPUID.1:ECX": _LEAF_1_ECX,
    "CPUID.1:EDX": _LEAF_1_EDX,
    "CPUID.(7,0):EBX": _LEAF_7_EBX,
    "CPUID.(7,0):ECX": _LEAF_7_ECX,
    "CPUID.(7,0):EDX": _LEAF_7_EDX,
    0x485: (
        Limit({14: "Intel PT in VMX operation"}, "is not modelled"),
        Limit({15: "IA32_SMBASE", 28: "SMIs blocked by VMXOFF"}, "there is no SMM"),
    ),
    0x489: (
        Limit({11: "UMIP", 14: "SMXE", 22: "PKE"}, "masked in CPUID"),
        Limit({16: "FSGSBASE", 17: "PCIDE", 20: "SMEP", 21: "SMAP"}, "masked in CPUID"),
    ),
}
"""CPUID register or index of an MSR to what is masked there."""

# The control MSRs keep what may be 1 (allowed-1) in their upper half.
for _msrs, _limits in (
    ((0x481, 0x48D), _PIN_BASED),
    ((0x482, 0x48E), _PRIMARY),
    ((0x48B,), _SECONDARY),
    ((0x483, 0x48F), _EXIT),
    ((0x484, 0x490), _ENTRY),
):
    for _msr in _msrs:
        LIMITS[_msr] = tuple(Limit(limit.names, limit.why, 32) for limit in _limits)
