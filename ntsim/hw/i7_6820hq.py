"""The built-in processor: Intel Core i7-6820HQ (family 6, model 5EH: Skylake, 4 cores, 8 threads).

Each value is what silicon reports, beside the mask of what ntsim does not run: a driver that asks
gets "not supported" and never meets a feature that is not there. The capability MSRs are those of
an i7-6700K (VirtualBox, src/VBox/VMM/VMMR3/cpus/Intel_Core_i7_6700K.h), the same die family; no
dump of a 6820HQ was found. Its CR4_FIXED1 would also have SMXE (bit 14, inferred); SMX is masked.
"""

from collections.abc import Iterator
from typing import NamedTuple

NAME = "i7-6820HQ"
BRAND = "Intel(R) Core(TM) i7-6820HQ CPU @ 2.70GHz"
SIGNATURE = 0x000506E3  # family 6, model 5EH, stepping 3
PHYSICAL_ADDRESS_BITS = 39
LINEAR_ADDRESS_BITS = 48
HIGHEST_BASIC_LEAF = 0x16
HIGHEST_EXTENDED_LEAF = 0x8000_0008


class Mask(NamedTuple):
    """Bits of a CPUID register or an MSR that read as 0 here, and why."""

    bits: int
    reason: str


def bits(*positions: int) -> int:
    """The integer with exactly these bits set."""
    return sum(1 << position for position in positions)


def masked(silicon: int, masks: tuple[Mask, ...]) -> int:
    """`silicon` without the masked bits."""
    for mask in masks:
        silicon &= ~mask.bits
    return silicon


# CPUID.1:ECX and EDX, CPUID.(7,0):EBX, CPUID.80000001H:ECX and EDX. Leaf DH is 0: no XSAVE.
LEAF_1_ECX = 0x7FFA_FBFF
LEAF_1_ECX_MASKS = (
    Mask(bits(2, 4, 15), "DTES64, DS-CPL, PDCM: no debug store, no performance counters"),
    Mask(bits(6), "SMX: GETSEC and measured launch are not modelled"),
    Mask(bits(7, 8, 14), "EIST, TM2, xTPR: no power management, no task-priority messages"),
    Mask(bits(11), "SDBG: no silicon debug"),
    Mask(bits(12, 28, 29), "FMA, AVX, F16C: the engine does not decode VEX arithmetic"),
    Mask(bits(17), "PCID: the platform has no process-context identifiers"),
    Mask(bits(21, 24), "x2APIC, TSC deadline: the APIC model has neither"),
    Mask(bits(22), "MOVBE: the engine does not decode it"),
    Mask(bits(26, 27), "XSAVE, OSXSAVE: the engine decodes neither XSAVE nor XRSTOR"),
    Mask(bits(30), "RDRAND: not in the engine; and randomness would end 'same seed, same run'"),
)
LEAF_1_EDX = 0xBFEB_FBFF
LEAF_1_EDX_MASKS = (
    Mask(bits(21, 31), "DS, PBE: no debug store, no pending-break signal"),
    Mask(bits(22, 29), "ACPI, TM: no thermal monitoring"),
    Mask(bits(28), "HTT: set when the machine has more than one processor"),
)
LEAF_7_EBX = 0x029C_6FBF
LEAF_7_EBX_MASKS = (
    Mask(bits(0), "FSGSBASE: the engine does not decode RDFSBASE and its family"),
    Mask(bits(1), "IA32_TSC_ADJUST is not modelled"),
    Mask(bits(2), "SGX is not modelled"),
    Mask(bits(4, 11), "HLE, RTM: the engine has no transactions"),
    Mask(bits(3, 5, 8), "BMI1, AVX2, BMI2: the engine does not decode VEX encodings"),
    Mask(bits(7), "SMEP: the engine does not check it"),
    Mask(bits(10), "INVPCID: the engine does not decode it"),
    Mask(bits(14), "MPX: the engine has no bound registers"),
    Mask(bits(18), "RDSEED: as RDRAND"),
    Mask(bits(19), "ADX: the engine decodes neither ADCX nor ADOX"),
    Mask(bits(20), "SMAP: not on this platform"),
    Mask(bits(23), "CLFLUSHOPT: the engine does not decode it"),
    Mask(bits(25), "Intel PT is not modelled"),
)
EXTENDED_1_ECX = 0x121  # LAHF, LZCNT, PREFETCHW
EXTENDED_1_EDX = 0x2C10_0800  # SYSCALL, NX, 1-GByte pages, RDTSCP, long mode

# IA32_VMX_*: what silicon reports.
CAPABILITY_MSRS = {
    0x480: 0x00DA_0400_0000_0004,
    0x481: 0x0000_007F_0000_0016,
    0x482: 0xFFF9_FFFE_0401_E172,
    0x483: 0x01FF_FFFF_0003_6DFF,
    0x484: 0x0003_FFFF_0000_11FF,
    0x485: 0x7004_C1E7,
    0x486: 0x8000_0021,
    0x487: 0xFFFF_FFFF,
    0x488: 0x2000,
    0x489: 0x0037_67FF,
    0x48A: 0x2E,
    0x48B: 0x001F_FCFF_0000_0000,
    0x48C: 0x0000_0F01_0633_4141,
    0x48D: 0x0000_007F_0000_0016,
    0x48E: 0xFFF9_FFFE_0400_6172,
    0x48F: 0x01FF_FFFF_0003_6DFB,
    0x490: 0x0003_FFFF_0000_11FB,
    0x491: 0x1,
}

_PIN_BASED = (
    Mask(bits(5), "virtual NMIs: NMI blocking of a guest is not tracked"),
    Mask(bits(6), "VMX-preemption timer: a guest's quantum has no exact length in TSC ticks"),
)
_PRIMARY = (
    Mask(bits(21), "TPR shadow: there is no virtual-APIC page"),
    Mask(bits(22), "NMI-window exiting: needs virtual NMIs"),
)
_SECONDARY = (
    Mask(bits(0, 4), "virtualize APIC accesses, x2APIC mode: there is no virtual-APIC page"),
    Mask(bits(10), "PAUSE-loop exiting: a loop's length in TSC ticks is not known"),
    Mask(bits(11, 16), "RDRAND, RDSEED exiting: the engine cannot intercept them"),
    Mask(bits(12), "INVPCID: the engine does not decode it"),
    Mask(bits(13), "VM functions are not modelled"),
    Mask(bits(14), "VMCS shadowing is not modelled"),
    Mask(bits(15), "ENCLS exiting: SGX is not modelled"),
    Mask(bits(17), "page-modification logging is not modelled"),
    Mask(bits(18), "EPT-violation #VE is not modelled"),
    Mask(bits(19), "conceal VMX from PT: Intel PT is not modelled"),
    Mask(bits(20), "XSAVES/XRSTORS: the engine decodes neither"),
)
_EXIT = (
    Mask(bits(12), "IA32_PERF_GLOBAL_CTRL: no performance counters"),
    Mask(bits(22), "save VMX-preemption timer: no such timer"),
    Mask(bits(23, 24), "clear IA32_BNDCFGS, conceal VMX from PT: no MPX, no Intel PT"),
)
_ENTRY = (
    Mask(bits(13), "IA32_PERF_GLOBAL_CTRL: no performance counters"),
    Mask(bits(16, 17), "load IA32_BNDCFGS, conceal VMX from PT: no MPX, no Intel PT"),
)
CAPABILITY_MASKS: dict[int, tuple[Mask, ...]] = {
    0x485: (
        Mask(bits(14), "Intel PT in VMX operation is not modelled"),
        Mask(bits(15, 28), "IA32_SMBASE, SMIs blocked by VMXOFF: there is no SMM"),
    ),
    0x489: (
        Mask(bits(14), "SMXE: SMX is masked"),
        Mask(bits(16, 17, 20, 21), "FSGSBASE, PCIDE, SMEP, SMAP: masked in CPUID"),
    ),
    0x48C: (
        Mask(bits(0), "execute-only translations: the engine's nested tables cannot express them"),
        Mask(bits(21), "accessed and dirty flags of EPT are not modelled"),
    ),
}
# The control MSRs keep what may be 1 (allowed-1) in their upper half.
_CONTROL_MASKS = {
    (0x481, 0x48D): _PIN_BASED,
    (0x482, 0x48E): _PRIMARY,
    (0x48B,): _SECONDARY,
    (0x483, 0x48F): _EXIT,
    (0x484, 0x490): _ENTRY,
}
for _msrs, _masks in _CONTROL_MASKS.items():
    for _msr in _msrs:
        CAPABILITY_MASKS[_msr] = tuple(Mask(m.bits << 32, m.reason) for m in _masks)

# Without "enable VM functions" the MSR that lists them does not exist.
ABSENT_MSRS = frozenset({0x491})

# What firmware leaves: memory is write-back everywhere, IA32_FEATURE_CONTROL is locked with VMX on.
FIRMWARE_MSRS = {
    0x017: 0x0010_0000_0000_0000,  # IA32_PLATFORM_ID
    0x03A: 0x5,  # IA32_FEATURE_CONTROL: lock, VMX outside SMX
    0x08B: 0x0000_00F0_0000_0000,  # IA32_BIOS_SIGN_ID
    0x09B: 0x0,  # IA32_SMM_MONITOR_CTL: not valid
    0x0CE: 0x0008_0838_F101_1B00,  # MSR_PLATFORM_INFO: 27 times 100 MHz
    0x0FE: 0xD0A,  # IA32_MTRRCAP
    0x174: 0x0,
    0x175: 0x0,
    0x176: 0x0,
    0x179: 0x0,  # IA32_MCG_CAP: no banks
    0x17A: 0x0,
    0x1A0: 0x1,  # IA32_MISC_ENABLE: fast strings
    0x1D9: 0x0,  # IA32_DEBUGCTL
    **dict.fromkeys(range(0x200, 0x214), 0x0),  # variable-range MTRRs
    **dict.fromkeys((0x250, 0x258, 0x259, *range(0x268, 0x270)), 0x0606_0606_0606_0606),
    0x277: 0x0007_0406_0007_0406,  # IA32_PAT
    0x2FF: 0xC06,  # IA32_MTRR_DEF_TYPE: enabled, write-back
}


def masks() -> Iterator[tuple[str, Mask]]:
    """Every mask with the register it applies to, for people."""
    for register, found in (
        ("CPUID.1:ECX", LEAF_1_ECX_MASKS),
        ("CPUID.1:EDX", LEAF_1_EDX_MASKS),
        ("CPUID.(7,0):EBX", LEAF_7_EBX_MASKS),
        *((f"MSR {msr:x}H", found) for msr, found in sorted(CAPABILITY_MASKS.items())),
    ):
        for mask in found:
            yield register, mask


def capability_msrs() -> dict[int, int]:
    """IA32_VMX_* as this model reports them: silicon's values without what is masked."""
    return {
        msr: masked(value, CAPABILITY_MASKS.get(msr, ()))
        for msr, value in CAPABILITY_MSRS.items()
        if msr not in ABSENT_MSRS
    }
