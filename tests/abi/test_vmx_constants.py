"""VMCS encodings, controls, exit reasons and MSRs. Source: SDM 3, appendices B and C; SDM 4."""

import pytest

from ntsim.abi import vmx_constants as v
from ntsim.abi.vmcs_fields import FIELDS, field_name
from ntsim.abi.x86_constants import msr_name


@pytest.mark.parametrize(
    ("name", "encoding", "bits", "kind"),
    [
        ("VIRTUAL_PROCESSOR_ID", 0x0000, 16, v.VMCS_TYPE_CONTROL),
        ("GUEST_CS_SELECTOR", 0x0802, 16, v.VMCS_TYPE_GUEST_STATE),
        ("HOST_TR_SELECTOR", 0x0C0C, 16, v.VMCS_TYPE_HOST_STATE),
        ("EPT_POINTER", 0x201A, 64, v.VMCS_TYPE_CONTROL),
        ("GUEST_PHYSICAL_ADDRESS", 0x2400, 64, v.VMCS_TYPE_EXIT_INFO),
        ("VMCS_LINK_POINTER", 0x2800, 64, v.VMCS_TYPE_GUEST_STATE),
        ("PIN_BASED_VM_EXEC_CONTROL", 0x4000, 32, v.VMCS_TYPE_CONTROL),
        ("CPU_BASED_VM_EXEC_CONTROL", 0x4002, 32, v.VMCS_TYPE_CONTROL),
        ("EXCEPTION_BITMAP", 0x4004, 32, v.VMCS_TYPE_CONTROL),
        ("SECONDARY_VM_EXEC_CONTROL", 0x401E, 32, v.VMCS_TYPE_CONTROL),
        ("VM_INSTRUCTION_ERROR", 0x4400, 32, v.VMCS_TYPE_EXIT_INFO),
        ("VM_EXIT_REASON", 0x4402, 32, v.VMCS_TYPE_EXIT_INFO),
        ("VM_EXIT_INSTRUCTION_LEN", 0x440C, 32, v.VMCS_TYPE_EXIT_INFO),
        ("GUEST_ACTIVITY_STATE", 0x4826, 32, v.VMCS_TYPE_GUEST_STATE),
        ("EXIT_QUALIFICATION", 0x6400, 64, v.VMCS_TYPE_EXIT_INFO),
        ("GUEST_RIP", 0x681E, 64, v.VMCS_TYPE_GUEST_STATE),
        ("HOST_RSP", 0x6C14, 64, v.VMCS_TYPE_HOST_STATE),
        ("HOST_RIP", 0x6C16, 64, v.VMCS_TYPE_HOST_STATE),
    ],
)
def test_a_field_has_its_encoding(name: str, encoding: int, bits: int, kind: int) -> None:
    assert getattr(v, name) == encoding
    field = FIELDS[encoding]
    assert (field.name, field.bits, field.type) == (name, bits, kind)


def test_the_table_holds_206_fields_and_no_high_halves() -> None:
    assert len(FIELDS) == 206
    assert all(not field.encoding & v.VMCS_HIGH for field in FIELDS.values())
    assert len({field.name for field in FIELDS.values()}) == len(FIELDS)


def test_exactly_the_exit_information_is_read_only() -> None:
    read_only = {field.name for field in FIELDS.values() if field.read_only}
    assert {"VM_EXIT_REASON", "EXIT_QUALIFICATION", "GUEST_LINEAR_ADDRESS"} <= read_only
    assert len(read_only) == 17


def test_a_field_tells_which_controls_bring_it_into_being() -> None:
    assert FIELDS[v.GUEST_RIP].exists_if is None
    assert FIELDS[v.EPT_POINTER].exists_if == ((v.SECONDARY_VM_EXEC_CONTROL, 1),)
    assert FIELDS[v.GUEST_EFER].exists_if == ((v.VM_EXIT_CONTROLS, 20), (v.VM_ENTRY_CONTROLS, 15))
    assert FIELDS[v.HOST_FRED_CONFIG].exists_if == ()


def test_every_condition_names_a_control_field_and_a_bit_of_it() -> None:
    for field in FIELDS.values():
        for control, bit in field.exists_if or ():
            assert FIELDS[control].type == v.VMCS_TYPE_CONTROL
            assert 0 <= bit < FIELDS[control].bits


def test_a_high_half_has_a_name_only_where_the_field_is_64_bits_wide() -> None:
    assert field_name(v.TSC_OFFSET | 1) == "TSC_OFFSET_HIGH"
    assert field_name(v.GUEST_RIP | 1) == "0x681f"
    assert field_name(0x7FFE) == "0x7ffe"


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        ("PIN_BASED_NMI_EXITING", 3),
        ("CPU_BASED_HLT_EXITING", 7),
        ("CPU_BASED_UNCONDITIONAL_IO_EXITING", 24),
        ("CPU_BASED_USE_MSR_BITMAPS", 28),
        ("CPU_BASED_ACTIVATE_SECONDARY_CONTROLS", 31),
        ("SECONDARY_ENABLE_EPT", 1),
        ("SECONDARY_ENABLE_VPID", 5),
        ("SECONDARY_UNRESTRICTED_GUEST", 7),
        ("VM_EXIT_HOST_ADDRESS_SPACE_SIZE", 9),
        ("VM_EXIT_ACKNOWLEDGE_INTERRUPT_ON_EXIT", 15),
        ("VM_ENTRY_IA32E_MODE_GUEST", 9),
        ("VM_ENTRY_LOAD_IA32_EFER", 15),
    ],
)
def test_a_control_is_its_bit(name: str, bit: int) -> None:
    assert getattr(v, name) == 1 << bit


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (10, "EXIT_REASON_CPUID"),
        (12, "EXIT_REASON_HLT"),
        (18, "EXIT_REASON_VMCALL"),
        (30, "EXIT_REASON_IO_INSTRUCTION"),
        (48, "EXIT_REASON_EPT_VIOLATION"),
        (0x80000021, "EXIT_REASON_ENTRY_FAIL_INVALID_GUEST_STATE"),
        (35, "35"),
    ],
)
def test_an_exit_reason_has_its_name(reason: int, name: str) -> None:
    assert v.exit_reason_name(reason) == name


def test_instruction_errors_are_1_to_28_without_three() -> None:
    assert set(v.INSTRUCTION_ERRORS) == set(range(1, 29)) - {14, 21, 27}
    assert v.INSTRUCTION_ERRORS[v.VMX_ERROR_VMRESUME_NOT_LAUNCHED] == (
        "VMRESUME with non-launched VMCS"
    )


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("IA32_FEATURE_CONTROL", 0x3A),
        ("IA32_SYSENTER_EIP", 0x176),
        ("IA32_DEBUGCTL", 0x1D9),
        ("IA32_PAT", 0x277),
        ("IA32_VMX_BASIC", 0x480),
        ("IA32_VMX_VMFUNC", 0x491),
        ("IA32_EFER", 0xC0000080),
        ("IA32_LSTAR", 0xC0000082),
        ("IA32_FS_BASE", 0xC0000100),
        ("IA32_GS_BASE", 0xC0000101),
    ],
)
def test_an_msr_has_its_number(name: str, number: int) -> None:
    assert getattr(v, name) == number
    assert msr_name(number) == name


def test_an_unknown_msr_is_named_by_its_number() -> None:
    assert msr_name(0x1234) == "0x1234"
