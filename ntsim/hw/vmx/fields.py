"""VMCS components: what an encoding says, and which ones a processor has.

Encoding (SDM 3, appendix "Field Encoding in VMCS"): bit 0 access type (1 = upper half of a 64-bit
field), bits 9:1 index, 11:10 type (control, exit information, guest state, host state), bit 12
reserved, 14:13 width (16, 64, 32 bits, natural), the rest reserved.
"""

from ntsim.hw.vmx._abi import FIELDS
from ntsim.hw.vmx.capabilities import ControlCapability, VmxCapabilities

HIGH = 1
CONTROL, EXIT_INFORMATION, GUEST_STATE, HOST_STATE = range(4)
_WIDTH_64 = 1
_BITS = (16, 64, 32, 64)  # natural width: this processor supports Intel 64


def bits_of(encoding: int) -> int:
    """How many bits the whole field has: 16, 32 or 64."""
    return _BITS[encoding >> 13 & 3]


def type_of(encoding: int) -> int:
    """CONTROL, EXIT_INFORMATION, GUEST_STATE or HOST_STATE."""
    return encoding >> 10 & 3


def has_high_half(encoding: int) -> bool:
    """Only 64-bit fields have a second encoding; natural-width ones do not."""
    return encoding >> 13 & 3 == _WIDTH_64


def name_of(encoding: int) -> str:
    """The field's name, with "(high)" for the upper half; its number if no processor has it."""
    field = FIELDS.get(encoding & ~HIGH)
    if field is None:
        return f"VMCS component {encoding:#x}"
    return f"{field.name} (high)" if encoding & HIGH else field.name


# Fields that exist only where a control may be 1: SDM 3, "VMCS Data Structures", each field's note.
_PIN, _PRIMARY, _SECONDARY, _EXIT, _ENTRY = range(5)
_EPT = [(_SECONDARY, 1)]
_VIRTUAL_INTERRUPTS = [(_SECONDARY, 9)]
_TERTIARY = [(_PRIMARY, 17)]
_CET = [(_ENTRY, 20), (_EXIT, 28)]
_PKRS = [(_ENTRY, 22), (_EXIT, 29)]
_NEVER: list[tuple[int, int]] = []  # FRED, SEAM, IA32_SPEC_CTRL: after the models ntsim has

_EXISTS_IF: list[tuple[list[tuple[int, int]], tuple[int, ...]]] = [
    ([(_SECONDARY, 5)], (0x0000,)),
    ([(_PIN, 7)], (0x0002, 0x2016)),
    ([(_SECONDARY, 18)], (0x0004, 0x202A)),
    (_VIRTUAL_INTERRUPTS, (0x0810, 0x201C, 0x201E, 0x2020, 0x2022)),
    ([(_SECONDARY, 17)], (0x0812, 0x200E)),
    ([(_ENTRY, 19), (_EXIT, 27)], (0x0814,)),
    ([(_PRIMARY, 28)], (0x2004,)),
    ([(_PRIMARY, 21)], (0x2012, 0x401C)),
    ([(_SECONDARY, 0)], (0x2014,)),
    ([(_SECONDARY, 13)], (0x2018, 0x2024)),
    (_EPT, (0x201A, 0x2400, 0x280A, 0x280C, 0x280E, 0x2810)),
    ([(_SECONDARY, 14)], (0x2026, 0x2028)),
    ([(_SECONDARY, 20)], (0x202C,)),
    ([(_SECONDARY, 15)], (0x202E,)),
    ([(_SECONDARY, 23)], (0x2030,)),
    ([(_SECONDARY, 25)], (0x2032,)),
    (_TERTIARY, (0x0006, 0x0008, 0x000A, 0x2034, 0x2040, 0x2042, 0x204A, 0x204C, 0x204E, 0x2830)),
    ([(_SECONDARY, 28)], (0x2036,)),
    ([(_SECONDARY, 21)], (0x2038, 0x203A)),
    ([(_SECONDARY, 27)], (0x203E,)),
    ([(_EXIT, 31)], (0x2044,)),
    ([(_EXIT, 18), (_ENTRY, 14)], (0x2804,)),
    ([(_EXIT, 20), (_ENTRY, 15)], (0x2806,)),
    ([(_ENTRY, 13)], (0x2808,)),
    ([(_ENTRY, 16), (_EXIT, 23)], (0x2812,)),
    ([(_ENTRY, 18), (_EXIT, 25)], (0x2814,)),
    ([(_ENTRY, 21), (_EXIT, 26)], (0x2816,)),
    (_PKRS, (0x2818, 0x2C06)),
    ([(_EXIT, 19)], (0x2C00,)),
    ([(_EXIT, 21)], (0x2C02,)),
    ([(_EXIT, 12)], (0x2C04,)),
    ([(_PRIMARY, 31)], (0x401E,)),
    ([(_SECONDARY, 10)], (0x4020, 0x4022)),
    ([(_SECONDARY, 31)], (0x4024,)),
    ([(_PIN, 6)], (0x482E,)),
    (_CET, (0x6828, 0x682A, 0x682C, 0x6C18, 0x6C1A, 0x6C1C)),
    (_NEVER, (0x203C, 0x2052, 0x2402, 0x2404, 0x282E, 0x2C1A, 0x4026)),
    (_NEVER, (0x281A, 0x281C, 0x281E, 0x2820, 0x2822, 0x2824, 0x2826, 0x2828)),
    (_NEVER, (0x2C08, 0x2C0A, 0x2C0C, 0x2C0E, 0x2C10, 0x2C12, 0x2C14, 0x2C16)),
]


def supported_fields(capabilities: VmxCapabilities) -> tuple[int, ...]:
    """The (full) encodings that VMREAD and VMWRITE know on this processor, in ascending order."""
    sets: tuple[ControlCapability, ...] = (
        capabilities.pin_based,
        capabilities.primary,
        capabilities.secondary,
        capabilities.vm_exit,
        capabilities.vm_entry,
    )
    absent = {
        encoding
        for controls, encodings in _EXISTS_IF
        if not any(sets[which].may_be_one >> bit & 1 for which, bit in controls)
        for encoding in encodings
    }
    targets = capabilities.misc.cr3_targets
    absent.update(0x6008 + 2 * i for i in range(min(targets, 4), 4))
    return tuple(sorted(encoding for encoding in FIELDS if encoding not in absent))
