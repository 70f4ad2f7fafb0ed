"""Task gates in the IDT of a 32-bit guest: SDM 3, "Treatment of Task Switches", and the exit
qualification for task switches."""

import pytest

from ntsim.abi import vmx_constants as f
from tests.hw.vmx.conftest import CODE_PA, GDT_PA, IDT_PA, STACK_PA, TSS_PA
from tests.hw.vmx.test_exit_information import information

VALID, HARDWARE, SOFTWARE_INTERRUPT = 1 << 31, 3 << 8, 4 << 8
OTHER_TASK, TASK_GATE, TSS_32, BUSY_TSS_32 = 0x48, 0x85, 0x89, 0x8B
SOURCE_IDT = 3 << 30


def system_descriptor(base, limit, rights):
    low = limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | rights << 40
    return low | (limit >> 16) << 48 | (base >> 24) << 56


def make_protected(guest):
    """Flat 32-bit code without paging; every vector of the IDT is an interrupt gate to a HLT."""
    guest.enable_ept()
    guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_UNRESTRICTED_GUEST)
    guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_IA32E_MODE_GUEST, clear=True)
    words, gdt = guest.ram.u64, GDT_PA >> 3
    words[gdt + 2] = 0x00CF_9B00_0000_FFFF
    words[gdt + 8] = system_descriptor(TSS_PA, 0x67, BUSY_TSS_32)
    words[gdt + 9] = system_descriptor(CODE_PA + 0x800, 0x67, TSS_32)
    for vector in range(32):
        words[(IDT_PA >> 3) + vector] = (
            CODE_PA + 0x100 & 0xFFFF | 0x10 << 16 | 0x8E << 40 | ((CODE_PA + 0x100) >> 16) << 48
        )
    guest.engine.write_code(CODE_PA + 0x100, b"\xf4")
    fields = {
        f.GUEST_CR0: 0x31,
        f.GUEST_CR4: f.CR4_VMXE,
        f.GUEST_RIP: CODE_PA,
        f.GUEST_RSP: STACK_PA + 0xF00,
        f.GUEST_CS_AR_BYTES: 0xC09B,
        f.GUEST_GDTR_BASE: GDT_PA,
        f.GUEST_IDTR_BASE: IDT_PA,
        f.GUEST_TR_BASE: TSS_PA,
    }
    guest.write_fields(fields)


@pytest.fixture
def protected(guest):
    make_protected(guest)
    return guest


def gate(guest, vector, selector=OTHER_TASK, rights=TASK_GATE):
    guest.ram.u64[(IDT_PA >> 3) + vector] = selector << 16 | rights << 40


def test_a_task_gate_of_the_idt_is_a_task_switch(protected):
    gate(protected, 0x20)
    found = protected.launch(b"\x90\xcd\x20")  # NOP; INT 20H
    assert (found.reason, found.rip) == (f.EXIT_REASON_TASK_SWITCH, CODE_PA + 1)
    assert information(protected) == {
        "qualification": SOURCE_IDT | OTHER_TASK,
        "vectoring": VALID | SOFTWARE_INTERRUPT | 0x20,
        "length": 2,
    }
    assert not protected.read(f.GUEST_RFLAGS) & f.RFLAGS_RF


def test_an_exception_brings_its_error_code(protected):
    gate(protected, f.VECTOR_GP)
    found = protected.launch(b"\x66\xb8\x30\x12\x8e\xd8")  # MOV AX, 1230H; MOV DS, AX
    assert found.reason == f.EXIT_REASON_TASK_SWITCH
    assert information(protected) == {
        "qualification": SOURCE_IDT | OTHER_TASK,
        "vectoring": VALID | HARDWARE | 1 << 11 | f.VECTOR_GP,
        "vectoring_code": 0x1230,
    }
    assert protected.read(f.GUEST_RFLAGS) & f.RFLAGS_RF


def test_nothing_of_the_task_switch_has_happened(protected):
    before = protected.ram.read(TSS_PA, 0x68), protected.ram.read(GDT_PA, 0x58)
    gate(protected, 6)
    protected.launch(b"\x0f\x0b")
    assert (protected.ram.read(TSS_PA, 0x68), protected.ram.read(GDT_PA, 0x58)) == before
    assert protected.read(f.GUEST_TR_SELECTOR) == 0x40
    assert protected.read(f.GUEST_RSP) == STACK_PA + 0xF00


@pytest.mark.parametrize(
    ("selector", "descriptor", "vector", "code"),
    [
        (OTHER_TASK | 4, None, f.VECTOR_GP, OTHER_TASK | 4),
        (0x40, None, f.VECTOR_GP, 0x40),  # busy
        (0x10, None, f.VECTOR_GP, 0x10),  # code
        (OTHER_TASK, system_descriptor(CODE_PA, 0x67, 0x09), f.VECTOR_NP, OTHER_TASK),
        (OTHER_TASK, system_descriptor(CODE_PA, 0x66, TSS_32), f.VECTOR_TS, OTHER_TASK),
    ],
)
def test_a_tss_that_cannot_be_switched_to_is_a_fault_first(
    protected, selector, descriptor, vector, code
):
    if descriptor is not None:
        protected.ram.u64[(GDT_PA >> 3) + 9] = descriptor
    gate(protected, 6, selector)
    protected.write_fields({f.EXCEPTION_BITMAP: 1 << vector})
    protected.launch(b"\x0f\x0b")
    event = VALID | HARDWARE | 1 << 11 | vector
    assert information(protected) == {
        "event": event,
        "event_code": code | 1,
        "vectoring": VALID | HARDWARE | 6,
    }


def test_interrupt_gates_work_beside_it(protected):
    found = protected.launch(b"\x0f\x0b")
    assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, CODE_PA + 0x100)


def test_64_bit_idts_have_no_task_gates(guest):
    guest.write_fields({f.EXCEPTION_BITMAP: 1 << f.VECTOR_GP})
    guest.set_gate(6, rights=0x85)
    guest.launch("ud2")
    assert guest.read(f.VM_EXIT_INTR_ERROR_CODE) == 6 << 3 | 3
