"""Where Bochs decides otherwise than Intel's manual, and what it does there.

Each is a rule with the section of SDM volume 3 that has it. `vmx_divergences.json` beside the
entry vectors lists the same for those vectors one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.entry import Violation


@dataclass(frozen=True)
class Unchecked:
    """A check of the manual that Bochs does not make: `applies` to the violation of it."""

    section: str
    what: str
    applies: Callable[[Violation], bool]


_LOW_32 = 0xFFFF_FFFF
_PENDING = 0xF | 1 << 12 | 1 << 14 | 1 << 16

UNCHECKED = (
    Unchecked(
        "Checks on Guest Control Registers, Debug Registers, and MSRs",
        "reserved bits of IA32_DEBUGCTL",
        lambda v: v.field == abi.GUEST_IA32_DEBUGCTL,
    ),
    Unchecked(
        "Checks on Guest Control Registers, Debug Registers, and MSRs",
        "IA32_PERF_GLOBAL_CTRL",
        lambda v: v.field in (abi.GUEST_PERF_GLOBAL_CTRL, abi.HOST_PERF_GLOBAL_CTRL),
    ),
    Unchecked(
        "Checks on Guest RIP, RFLAGS, and SSP",
        "RIP beyond the linear-address width in 64-bit code",
        lambda v: v.field == abi.GUEST_RIP and "too wide" in v.rule,
    ),
    Unchecked(
        "Checks on Guest Non-Register State",
        "bits 63:32 of the pending debug exceptions",
        lambda v: (
            v.field == abi.GUEST_PENDING_DBG_EXCEPTIONS
            and "reserved" in v.rule
            and not v.value & _LOW_32 & ~_PENDING
        ),
    ),
)


def is_checked(violation: Violation) -> bool:
    """Whether Bochs has the rule that is broken."""
    return not any(one.applies(violation) for one in UNCHECKED)


def msr_area_overflows(fields: Mapping[int, int]) -> bool:
    """Whether a count of MSRs times 16 needs more than 32 bits, in which Bochs computes it.

    The manual asks that the last byte be within the physical-address width (VM-Exit Control
    Fields, VM-Entry Control Fields).
    """
    counts = (
        abi.VM_EXIT_MSR_STORE_COUNT,
        abi.VM_EXIT_MSR_LOAD_COUNT,
        abi.VM_ENTRY_MSR_LOAD_COUNT,
    )
    return any(fields.get(count, 0) >> 27 for count in counts)


def entry_to_smm(fields: Mapping[int, int]) -> bool:
    """Outside SMM the control is error 7 (VM-Entry Control Fields); Bochs fails the entry late."""
    return bool(fields.get(abi.VM_ENTRY_CONTROLS, 0) & abi.VM_ENTRY_TO_SMM)


@dataclass(frozen=True)
class Different:
    """What a guest leaves behind differently in Bochs, and the section that decides."""

    section: str
    why: str
    fields: set[str]


DIFFERENT = {
    "test_dr8_to_dr15_are_undefined_before_that": Different(
        "MOV - Move to/from Debug Registers (volume 2)",
        "DR8 to DR15 are #UD, which comes before the VM exit; Bochs exits",
        {"VM_EXIT_REASON", "VM_EXIT_INTR_INFO", "EXIT_QUALIFICATION", "GUEST_RFLAGS"},
    ),
    "test_during_delivery_of_int_n_rf_is_clear_and_its_length_is_there": Different(
        "Saving RIP, RSP, RFLAGS, and SSP",
        "RF is what the frame on the stack would have, 0 for INT n; Bochs saves 1",
        {"GUEST_RFLAGS"},
    ),
    "test_the_monitor_trap_follows_each_iteration_of_a_repeated_instruction": Different(
        "Saving RIP, RSP, RFLAGS, and SSP",
        "the value RF had before the exit, which the manual does not give; Bochs sets it",
        {"GUEST_RFLAGS"},
    ),
    "test_exits": Different(
        "Format of the VM-Exit Instruction-Information Field as Used for LIDT, LGDT, SIDT, or SGDT",
        "bit 11 says whether the operand size is 32 bits; Bochs leaves it 0",
        {"VM_EXIT_INSTRUCTION_INFO"},
    ),
    "test_an_entry_that_means_nothing": Different(
        "EPT Misconfigurations",
        "the processor of the wheel has 40 bits of physical address, ntsim's 39",
        {"GUEST_PHYSICAL_ADDRESS", "VM_EXIT_REASON", "GUEST_RIP", "GUEST_RFLAGS", "rbx"},
    ),
    "test_real_address_mode_code_runs_and_exits": Different(
        "Saving Segment Registers and Descriptor-Table Registers",
        "a far jump in real-address mode leaves the type of CS alone; Bochs makes it data",
        {"GUEST_CS_AR_BYTES"},
    ),
    "test_an_msr_that_is_not_there_is_general_protection_in_the_guest": Different(
        "RDMSR (volume 2)",
        "the wheel reads MSRs that are not there as 0",
        {"VM_EXIT_REASON", "VM_EXIT_INTR_INFO", "GUEST_RIP", "GUEST_RFLAGS"},
    ),
    "test_strings": Different(
        "Relative Priority of Faults and VM Exits",
        "ntsim marks the pages of INS and OUTS accessed before the VM exit, as Bochs does not",
        {"memory"},
    ),
    "test_a_string_instruction_reports_its_linear_address_and_segment": Different(
        "Relative Priority of Faults and VM Exits",
        "the same",
        {"memory"},
    ),
    "test_what_the_sdm_refuses_is_general_protection": Different(
        "INVPCID (volume 2)",
        "the type is all 64 bits of its register in 64-bit mode; Bochs looks at 32",
        {
            "VM_EXIT_REASON",
            "VM_EXIT_INTR_INFO",
            "EXIT_QUALIFICATION",
            "GUEST_RSP",
            "GUEST_RIP",
            "GUEST_RFLAGS",
            "cr2",
            "memory",
        },
    ),
    "test_a_fault_of_the_iret_has_ended_it_and_says_so": Different(
        "IRET/IRETD/IRETQ (volume 2)",
        "Bochs reads RFLAGS of the frame before RIP; no manual gives the order",
        {"EXIT_QUALIFICATION"},
    ),
    "test_an_ept_violation_of_the_iret_says_so_in_its_qualification": Different(
        "IRET/IRETD/IRETQ (volume 2)",
        "the same",
        {"GUEST_PHYSICAL_ADDRESS", "GUEST_LINEAR_ADDRESS"},
    ),
    "test_it_exits_behind_the_iret_of_the_handler": Different(
        "NMI-Window Exiting",
        "ntsim has marked the page of the next instruction accessed, which it may",
        {"memory"},
    ),
    "test_the_ring_comes_before_the_exit": Different(
        "Relative Priority of Faults and VM Exits",
        "a fault for the privilege level comes before the exit; Bochs exits for INVPCID",
        {"VM_EXIT_REASON", "VM_EXIT_INTR_INFO", "GUEST_RFLAGS"},
    ),
}
"""By the name of the test."""

NOT_IN_BOCHS = {
    "test_an_external_interrupt_acknowledged",
    "test_it_leaves_the_activity_state_that_it_found",
    "test_an_interrupt_window_opens_in_a_halted_guest",
    "test_with_its_control_an_external_interrupt_exits_whatever_if_says",
    "test_with_acknowledgement_the_vector_is_reported_and_taken",
    "test_without_it_the_guest_takes_the_interrupt_when_if_allows",
    "test_vmread_and_vmwrite_reach_it_without_an_exit",
    "test_memory_operands",
    "test_upper_halves",
    "test_flags_say_how_it_went",
    "test_an_unsupported_component_fails_with_the_number_in_the_shadow_vmcs",
    "test_a_bit_of_the_bitmap_makes_its_encoding_exit",
    "test_encodings_that_the_bitmap_does_not_have_exit",
    "test_outside_ring_0_it_is_general_protection",
    "test_other_vmx_instructions_exit_as_ever",
    "test_monitor_goes_on_where_its_byte_can_be_read",
    "test_it_opens_in_a_guest_that_waits",
    "test_mwait_may_be_told_to_break_on_a_masked_interrupt",
}
"""Tests of interrupts, which nothing sends there, of shadow VMCSs, whose regions have another
format there, and of MWAIT, from which nothing wakes it."""
