"""INVPCID in a guest: SDM 3, "Changes to Instruction Behavior in VMX Non-Root Operation"; SDM 2."""

import pytest

from ntsim.abi import vmx_constants as f
from tests.hw.vmx.conftest import CODE_VA, DATA_PA, DATA_VA
from tests.hw.vmx.test_exit_information import ADDRESS_64, DS, NO_INDEX, exits, information, turn_on

VALID, HARDWARE, ERROR_CODE = 1 << 31, 3 << 8, 1 << 11
ENABLE = f.SECONDARY_ENABLE_INVPCID
UD, GP = VALID | HARDWARE | f.VECTOR_UD, VALID | HARDWARE | ERROR_CODE | f.VECTOR_GP


def faults(guest, code, **registers):
    guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_UD | 1 << f.VECTOR_GP})
    assert guest.launch(code, **registers).reason == f.EXIT_REASON_EXCEPTION_OR_NMI
    return guest.read(f.VM_EXIT_INTR_INFO)


def test_invpcid_exits_with_invlpg_exiting(guest):
    exits(
        guest,
        "invpcid r9, [rax+8]",
        f.EXIT_REASON_INVPCID,
        f.CPU_BASED_INVLPG_EXITING,
        ENABLE,
        qualification=8,
        instruction=ADDRESS_64 | NO_INDEX | DS | 9 << 28,
    )


def test_without_its_control_it_is_undefined_in_any_ring(guest):
    turn_on(guest, f.CPU_BASED_INVLPG_EXITING)
    assert faults(guest, "invpcid rcx, [rax]", rax=DATA_VA) == UD


def test_the_ring_comes_before_the_exit(guest):
    turn_on(guest, f.CPU_BASED_INVLPG_EXITING, ENABLE)
    guest.write_fields(
        {
            f.GUEST_CS_SELECTOR: 0x33,
            f.GUEST_CS_AR_BYTES: 0xA0FB,
            f.GUEST_SS_SELECTOR: 0x2B,
            f.GUEST_SS_AR_BYTES: 0xC0F3,
        }
    )
    assert faults(guest, "invpcid rcx, [rax]", rax=DATA_VA) == GP


@pytest.mark.parametrize("kind", range(4))
def test_each_type_forgets_translations(guest, kind):
    turn_on(guest, 0, ENABLE)
    guest.put(f"mov rbx, [rsi]; cpuid; mov ecx, {kind}; invpcid rcx, [rdi]; mov rbx, [rsi]; hlt")
    turn_on(guest, 0, f.SECONDARY_ENABLE_VPID)
    guest.control(f.SECONDARY_VM_EXEC_CONTROL, ENABLE)
    guest.write_fields({f.VIRTUAL_PROCESSOR_ID: 1})
    guest.launch(rsi=DATA_VA, rdi=DATA_VA + 0x100)
    other = guest.page(0x5A5A)
    guest.ram.u64[DATA_PA + 0x108 >> 3] = DATA_VA
    guest.tables.write(guest.root, DATA_VA, other | 7)
    guest.ram.u64[other + 0x108 >> 3] = DATA_VA
    assert guest.resume().reason == f.EXIT_REASON_HLT
    assert guest.gpr("rbx") == 0x5A5A


@pytest.mark.parametrize(
    ("kind", "low", "address"),
    [(4, 0, 0), (1 << 32, 0, 0), (2, 1 << 12, 0), (0, 1, 0), (1, 5, 0), (0, 0, 1 << 47)],
)
def test_what_the_sdm_refuses_is_general_protection(guest, kind, low, address):
    turn_on(guest, 0, ENABLE)
    words = guest.ram.u64
    words[DATA_PA >> 3], words[(DATA_PA >> 3) + 1] = low, address
    assert faults(guest, "invpcid rcx, [rax]", rax=DATA_VA, rcx=kind) == GP
    assert information(guest) == {"event": GP}
    assert guest.read(f.GUEST_RIP) == CODE_VA


@pytest.mark.parametrize(("kind", "low"), [(2, 5), (3, 0xFFF), (1, 0)])
def test_a_pcid_that_the_type_does_not_use_does_not_matter(guest, kind, low):
    turn_on(guest, 0, ENABLE)
    guest.ram.u64[DATA_PA >> 3] = low
    found = guest.launch("invpcid rcx, [rax]; hlt", rax=DATA_VA, rcx=kind)
    assert found.reason == f.EXIT_REASON_HLT
