"""Valid VMCSs of several kinds of guest, and mutations of them."""

from functools import cache

from hypothesis import strategies as st

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.fields import supported_fields
from tests.differential.pair import capabilities, host_fields

_SEGMENTS = ("ES", "CS", "SS", "DS", "FS", "GS")
_WIDTHS = (16, 64, 32, 64)
EPT_ROOT, ZEROS = 0x8_0000, 0x9_0000
"""Physical pages, all of them zero, as is everything in the memory of these cases."""


def long_mode() -> dict[int, int]:
    """64-bit code at ring 0, without EPT."""
    caps = capabilities()
    fields = {
        **host_fields(),
        abi.PIN_BASED_VM_EXEC_CONTROL: caps.pin_based.adjust(0),
        abi.CPU_BASED_VM_EXEC_CONTROL: caps.primary.adjust(0),
        abi.SECONDARY_VM_EXEC_CONTROL: 0,
        abi.VM_EXIT_CONTROLS: caps.vm_exit.adjust(abi.VM_EXIT_HOST_ADDRESS_SPACE_SIZE),
        abi.VM_ENTRY_CONTROLS: caps.vm_entry.adjust(abi.VM_ENTRY_IA32E_MODE_GUEST),
        abi.VMCS_LINK_POINTER: 0xFFFF_FFFF_FFFF_FFFF,
        abi.GUEST_CR0: 0x8005_0033,
        abi.GUEST_CR3: 0x1000,
        abi.GUEST_CR4: 0x2020,
        abi.GUEST_EFER: 0xD01,
        abi.GUEST_PAT: 0x0007_0406_0007_0406,
        abi.GUEST_RIP: 0x10800,
        abi.GUEST_RSP: 0x10400,
        abi.GUEST_RFLAGS: 2,
        abi.GUEST_DR7: 0x400,
        abi.GUEST_CS_AR_BYTES: 0xA09B,
        abi.GUEST_TR_SELECTOR: 0x40,
        abi.GUEST_TR_LIMIT: 0x67,
        abi.GUEST_TR_AR_BYTES: 0x8B,
        abi.GUEST_LDTR_SELECTOR: 0x50,
        abi.GUEST_LDTR_LIMIT: 0xFF,
        abi.GUEST_LDTR_AR_BYTES: 0x82,
        abi.GUEST_GDTR_LIMIT: 0xFFF,
        abi.GUEST_IDTR_LIMIT: 0xFFF,
    }
    for name in _SEGMENTS:
        fields[getattr(abi, f"GUEST_{name}_SELECTOR")] = 0x10 if name == "CS" else 0x18
        fields[getattr(abi, f"GUEST_{name}_LIMIT")] = 0xFFFF_FFFF
        fields.setdefault(getattr(abi, f"GUEST_{name}_AR_BYTES"), 0xC093)
    for encoding in changeable():
        fields.setdefault(encoding, 0)
    return fields


def everything_on() -> dict[int, int]:
    """64-bit code with EPT, VPID, bitmaps, a TPR shadow and what the controls may load."""
    caps = capabilities()
    fields = long_mode()
    primary = abi.CPU_BASED_USE_MSR_BITMAPS | abi.CPU_BASED_USE_IO_BITMAPS
    primary |= abi.CPU_BASED_USE_TPR_SHADOW | abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    primary |= abi.CPU_BASED_HLT_EXITING | abi.CPU_BASED_USE_TSC_OFFSETTING
    secondary = abi.SECONDARY_ENABLE_EPT | abi.SECONDARY_ENABLE_VPID
    secondary |= abi.SECONDARY_UNRESTRICTED_GUEST | abi.SECONDARY_ENABLE_RDTSCP
    fields |= {
        abi.PIN_BASED_VM_EXEC_CONTROL: caps.pin_based.adjust(
            abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING
            | abi.PIN_BASED_NMI_EXITING
            | abi.PIN_BASED_VIRTUAL_NMIS
        ),
        abi.CPU_BASED_VM_EXEC_CONTROL: caps.primary.adjust(primary),
        abi.SECONDARY_VM_EXEC_CONTROL: secondary,
        abi.VM_EXIT_CONTROLS: fields[abi.VM_EXIT_CONTROLS]
        | abi.VM_EXIT_LOAD_IA32_EFER
        | abi.VM_EXIT_LOAD_IA32_PAT,
        abi.VM_ENTRY_CONTROLS: fields[abi.VM_ENTRY_CONTROLS]
        | abi.VM_ENTRY_LOAD_IA32_EFER
        | abi.VM_ENTRY_LOAD_IA32_PAT,
        abi.EPT_POINTER: EPT_ROOT | 0x1E,
        abi.VIRTUAL_PROCESSOR_ID: 1,
        abi.MSR_BITMAP: ZEROS,
        abi.IO_BITMAP_A: ZEROS,
        abi.IO_BITMAP_B: ZEROS,
        abi.VIRTUAL_APIC_PAGE_ADDR: ZEROS,
    }
    return fields


def protected_mode() -> dict[int, int]:
    """32-bit code with 32-bit paging, no EPT."""
    fields = long_mode()
    fields[abi.VM_ENTRY_CONTROLS] &= ~abi.VM_ENTRY_IA32E_MODE_GUEST
    return fields | {
        abi.GUEST_CR4: 0x2000,
        abi.GUEST_EFER: 0,
        abi.GUEST_CS_AR_BYTES: 0xC09B,
    }


def pae() -> dict[int, int]:
    """32-bit code with PAE paging and EPT, so that the PDPTEs are fields."""
    fields = everything_on()
    fields[abi.VM_ENTRY_CONTROLS] &= ~abi.VM_ENTRY_IA32E_MODE_GUEST
    fields |= {abi.GUEST_EFER: 0, abi.GUEST_CS_AR_BYTES: 0xC09B}
    return fields | {abi.GUEST_PDPTE0 + 2 * n: 0x5001 + 0x1000 * n for n in range(4)}


def real_mode() -> dict[int, int]:
    """Unrestricted guest with paging and protection off."""
    fields = pae() | {abi.GUEST_CR0: 0x30, abi.GUEST_CR4: 0x2000, abi.GUEST_RIP: 0x800}
    for name in _SEGMENTS:
        fields[getattr(abi, f"GUEST_{name}_LIMIT")] = 0xFFFF
        fields[getattr(abi, f"GUEST_{name}_AR_BYTES")] = 0x93
        fields[getattr(abi, f"GUEST_{name}_SELECTOR")] = 0
    fields[abi.GUEST_CS_AR_BYTES] = 0x9B
    return fields


def virtual_8086() -> dict[int, int]:
    """RFLAGS.VM."""
    fields = protected_mode() | {abi.GUEST_RFLAGS: 0x2_0002, abi.GUEST_RIP: 0x800}
    for name in _SEGMENTS:
        fields[getattr(abi, f"GUEST_{name}_LIMIT")] = 0xFFFF
        fields[getattr(abi, f"GUEST_{name}_AR_BYTES")] = 0xF3
        fields[getattr(abi, f"GUEST_{name}_BASE")] = 0x1000
        fields[getattr(abi, f"GUEST_{name}_SELECTOR")] = 0x100
    return fields


BASES = {
    made.__name__: made
    for made in (long_mode, everything_on, protected_mode, pae, real_mode, virtual_8086)
}
_EXIT_INFORMATION = 1


@cache
def changeable() -> tuple[int, ...]:
    """What a case may change: every field of this processor but the exit information."""
    return tuple(
        encoding
        for encoding in supported_fields(capabilities())
        if encoding >> 10 & 3 != _EXIT_INFORMATION
    )


_MUCH_READ = tuple(
    getattr(abi, name)
    for name in """PIN_BASED_VM_EXEC_CONTROL CPU_BASED_VM_EXEC_CONTROL SECONDARY_VM_EXEC_CONTROL
    VM_EXIT_CONTROLS VM_ENTRY_CONTROLS VM_ENTRY_INTR_INFO_FIELD VM_ENTRY_EXCEPTION_ERROR_CODE
    VM_ENTRY_INSTRUCTION_LEN GUEST_CR0 GUEST_CR4 GUEST_RFLAGS GUEST_EFER GUEST_ACTIVITY_STATE
    GUEST_INTERRUPTIBILITY_STATE GUEST_PENDING_DBG_EXCEPTIONS GUEST_CS_AR_BYTES GUEST_SS_AR_BYTES
    GUEST_DS_AR_BYTES GUEST_TR_AR_BYTES GUEST_LDTR_AR_BYTES GUEST_SS_SELECTOR GUEST_CS_SELECTOR
    HOST_CR0 HOST_CR4 HOST_EFER EPT_POINTER VM_FUNCTION_CONTROL GUEST_DR7""".split()
)
_TELLING = (0, 1, 7, 8, 0xFFF, 0x1000, 0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, (1 << 64) - 1)
_INJECTIONS = st.builds(
    lambda vector, kind, code, reserved: 1 << 31 | vector | kind << 8 | code << 11 | reserved,
    st.integers(0, 255) | st.sampled_from((1, 2, 3, 6, 8, 13, 14, 32)),
    st.integers(0, 7),
    st.booleans(),
    st.sampled_from((0, 0, 0, 1 << 12, 1 << 30)),
)


def width_of(encoding: int) -> int:
    """Bits of a field."""
    return _WIDTHS[encoding >> 13 & 3]


@st.composite
def one_change(draw: st.DrawFn) -> tuple[int, int, bool]:
    """(field, value, whether the value is to be XORed)."""
    if draw(st.integers(0, 9)) == 0:
        return abi.VM_ENTRY_INTR_INFO_FIELD, draw(_INJECTIONS), False
    field = draw(st.sampled_from(_MUCH_READ) | st.sampled_from(changeable()))
    mask = (1 << width_of(field)) - 1
    bit = st.integers(0, width_of(field) - 1).map(lambda n: 1 << n)
    if draw(st.integers(0, 2)):
        return field, draw(bit | st.tuples(bit, bit).map(lambda two: two[0] | two[1])), True
    return field, draw(st.sampled_from(_TELLING) | st.integers(0, mask)) & mask, False


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, dict[int, int]]:
    """The kind of guest, and the fields that are not as in its valid VMCS."""
    kind = draw(st.sampled_from(sorted(BASES)))
    base, changed = BASES[kind](), {}
    for field, value, flips in draw(st.lists(one_change(), min_size=1, max_size=4)):
        changed[field] = changed.get(field, base[field]) ^ value if flips else value
    return kind, changed
