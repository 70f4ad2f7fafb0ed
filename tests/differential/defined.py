"""Which bits of the fields that a VM exit writes the manual defines for that exit.

Source: SDM 3, "Recording VM-Exit Information and Updating VM-Entry Control Fields", "Saving Guest
State". What is undefined may differ from one processor to the next.
"""

from collections.abc import Callable, Mapping

from ntsim.abi import vmx_constants as abi

ALL = (1 << 64) - 1
_WITH_LENGTH = {
    getattr(abi, f"EXIT_REASON_{name}")
    for name in """CPUID GETSEC HLT INVD INVLPG RDPMC RDTSC RSM VMCALL VMCLEAR VMLAUNCH VMPTRLD
    VMPTRST VMREAD VMRESUME VMWRITE VMXOFF VMXON CR_ACCESS MOV_DR IO_INSTRUCTION RDMSR WRMSR MWAIT
    MONITOR PAUSE GDTR_IDTR_ACCESS LDTR_TR_ACCESS INVEPT RDTSCP INVVPID WBINVD_WBNOINVD XSETBV
    INVPCID VMFUNC""".split()
}
_WITH_INFORMATION = {
    getattr(abi, f"EXIT_REASON_{name}")
    for name in """IO_INSTRUCTION GDTR_IDTR_ACCESS LDTR_TR_ACCESS INVEPT INVVPID INVPCID VMCLEAR
    VMPTRLD VMPTRST VMXON VMREAD VMWRITE""".split()
}
_SOFTWARE_TYPES = {
    abi.INTR_TYPE_SOFTWARE_INTERRUPT,
    abi.INTR_TYPE_PRIVILEGED_SOFTWARE_EXCEPTION,
    abi.INTR_TYPE_SOFTWARE_EXCEPTION,
}
_ERROR_CODE_VALID = 1 << 11
_ADVANCED_EPT_INFORMATION = 0xE00
_OPERAND_SIZE = 1 << 11
_SEGMENT = 7 << 15
_REGISTER = 1 << 10
_UNUSABLE, _DPL = 1 << 16, 3 << 5
_IN = 1 << 3
_LONG_CODE = 1 << 13
_LINEAR_ADDRESS_VALID = 1 << 7
_STRING, _LMSW = 1 << 4, 3
_LOW_32 = 0xFFFF_FFFF


def defined(field: int, exit_: Mapping[int, int]) -> int:
    """The bits of `field` that mean something after the VM exit whose fields are `exit_`."""
    rule = _RULES.get(field)
    return ALL if rule is None else rule(exit_)


def _software(information: int) -> bool:
    return bool(information >> 31) and information >> 8 & 7 in _SOFTWARE_TYPES


def _length(exit_: Mapping[int, int]) -> int:
    if exit_[abi.VM_EXIT_REASON] in _WITH_LENGTH:
        return ALL
    events = (exit_[abi.VM_EXIT_INTR_INFO], exit_[abi.IDT_VECTORING_INFO])
    return ALL if any(_software(event) for event in events) else 0


def _information(exit_: Mapping[int, int]) -> int:
    reason = exit_[abi.VM_EXIT_REASON]
    if reason not in _WITH_INFORMATION:
        return 0
    if reason == abi.EXIT_REASON_IO_INSTRUCTION and not exit_[abi.EXIT_QUALIFICATION] & _STRING:
        return 0
    if reason == abi.EXIT_REASON_IO_INSTRUCTION and exit_[abi.EXIT_QUALIFICATION] & _IN:
        return ALL & ~_SEGMENT
    in_64_bit_mode = exit_[abi.GUEST_CS_AR_BYTES] & _LONG_CODE
    return ALL & ~_OPERAND_SIZE if in_64_bit_mode else ALL


def _linear_address(exit_: Mapping[int, int]) -> int:
    reason, qualification = exit_[abi.VM_EXIT_REASON], exit_[abi.EXIT_QUALIFICATION]
    if reason == abi.EXIT_REASON_EPT_VIOLATION:
        return ALL if qualification & _LINEAR_ADDRESS_VALID else 0
    if reason == abi.EXIT_REASON_IO_INSTRUCTION:
        return ALL if qualification & _STRING else 0
    if reason == abi.EXIT_REASON_CR_ACCESS:
        return ALL if qualification >> 4 & 3 == _LMSW and qualification >> 6 & 1 else 0
    return 0


def _physical_address(exit_: Mapping[int, int]) -> int:
    ept = (abi.EXIT_REASON_EPT_VIOLATION, abi.EXIT_REASON_EPT_MISCONFIGURATION)
    return ALL if exit_[abi.VM_EXIT_REASON] in ept else 0


def _qualification(exit_: Mapping[int, int]) -> int:
    """Bits 11:9 of an EPT violation only exist with IA32_VMX_EPT_VPID_CAP[22].

    VMREAD and VMWRITE of a register have no displacement.
    """
    if exit_[abi.VM_EXIT_REASON] in (abi.EXIT_REASON_VMREAD, abi.EXIT_REASON_VMWRITE):
        return 0 if exit_[abi.VM_EXIT_INSTRUCTION_INFO] & _REGISTER else ALL
    ept = exit_[abi.VM_EXIT_REASON] == abi.EXIT_REASON_EPT_VIOLATION
    return ALL & ~_ADVANCED_EPT_INFORMATION if ept else ALL


def _with_error_code(information: int) -> int:
    return ALL if information >> 31 and information & _ERROR_CODE_VALID else 0


def _rights(field: int) -> Callable[[Mapping[int, int]], int]:
    """Of an unusable segment the bit that says so, and the privilege level of SS."""
    kept = _UNUSABLE | (_DPL if field == abi.GUEST_SS_AR_BYTES else 0)
    return lambda exit_: kept if exit_[field] & _UNUSABLE else ALL


_RULES = {
    **{
        field: _rights(field)
        for field in (getattr(abi, f"GUEST_{name}_AR_BYTES") for name in "ES SS DS FS GS".split())
    },
    abi.VM_EXIT_INSTRUCTION_LEN: _length,
    abi.VM_EXIT_INSTRUCTION_INFO: _information,
    abi.GUEST_LINEAR_ADDRESS: _linear_address,
    abi.GUEST_PHYSICAL_ADDRESS: _physical_address,
    abi.EXIT_QUALIFICATION: _qualification,
    abi.VM_EXIT_INTR_ERROR_CODE: lambda exit_: _with_error_code(exit_[abi.VM_EXIT_INTR_INFO]),
    abi.IDT_VECTORING_ERROR_CODE: lambda exit_: _with_error_code(exit_[abi.IDT_VECTORING_INFO]),
    abi.GUEST_RSP: lambda exit_: ALL if exit_[abi.GUEST_CS_AR_BYTES] & _LONG_CODE else _LOW_32,
}
