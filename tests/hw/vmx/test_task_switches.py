"""Task switches by far jumps, far calls and IRET in a 32-bit guest: SDM 3, "Treatment of Task
Switches", and the exit qualification for task switches."""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.engine import Engine
from ntsim.hw.engine.native import Native
from tests.hw.vmx.conftest import CODE_PA, DATA_PA, GDT_PA, STACK_PA, TSS_PA, GuestRig
from tests.hw.vmx.test_exit_information import information
from tests.hw.vmx.test_task_gates import (
    BUSY_TSS_32,
    OTHER_TASK,
    TASK_GATE,
    TSS_32,
    VALID,
    make_protected,
    system_descriptor,
)

CALL, IRET, JUMP = 0, 1 << 30, 2 << 30
GATE = 0x50
HARDWARE_WITH_CODE = VALID | 3 << 8 | 1 << 11
NT = 1 << 14


@pytest.fixture(params=["blocks", "instructions"])
def protected(request):
    """The guest of test_task_gates.py, in an engine that counts blocks, and one that does not."""
    guest = GuestRig()
    if request.param == "instructions":
        guest.engine = Engine.on(Native(count_in_library=True), guest.ram)
        guest.unit.engine = guest.engine
    make_protected(guest)
    guest.ram.u64[(GDT_PA >> 3) + GATE // 8] = OTHER_TASK << 16 | TASK_GATE << 40
    yield guest
    guest.engine.close()


def far(opcode, selector, offset=0):
    return bytes([opcode]) + offset.to_bytes(4, "little") + selector.to_bytes(2, "little")


def through_memory(guest, modrm, selector):
    """FF /3 or /5 with a pointer at DATA_PA."""
    guest.ram.write(DATA_PA, bytes(4) + selector.to_bytes(2, "little"))
    return bytes([0xFF, modrm]) + DATA_PA.to_bytes(4, "little")


@pytest.mark.parametrize("selector", [OTHER_TASK, GATE])
@pytest.mark.parametrize(("opcode", "source"), [(0xEA, JUMP), (0x9A, CALL)])
def test_a_direct_jump_or_call(protected, opcode, source, selector):
    before = protected.ram.read(TSS_PA, 0x68), protected.ram.read(GDT_PA, 0x58)
    found = protected.launch(b"\x40" + far(opcode, selector) + b"\xf4")  # INC EAX first
    assert (found.reason, found.rip) == (f.EXIT_REASON_TASK_SWITCH, CODE_PA + 1)
    assert information(protected) == {"qualification": source | OTHER_TASK, "length": 7}
    assert (protected.ram.read(TSS_PA, 0x68), protected.ram.read(GDT_PA, 0x58)) == before
    assert protected.read(f.GUEST_TR_SELECTOR) == 0x40


@pytest.mark.parametrize(("modrm", "source"), [(0x2D, JUMP), (0x1D, CALL)])
def test_a_pointer_in_memory(protected, modrm, source):
    found = protected.launch(through_memory(protected, modrm, OTHER_TASK))
    assert found.reason == f.EXIT_REASON_TASK_SWITCH
    assert information(protected) == {"qualification": source | OTHER_TASK, "length": 6}


def test_iret_of_a_nested_task_goes_back_by_the_link_of_its_tss(protected):
    protected.ram.write(TSS_PA, OTHER_TASK.to_bytes(2, "little"))
    protected.ram.u64[(GDT_PA >> 3) + 9] = system_descriptor(CODE_PA + 0x800, 0x67, BUSY_TSS_32)
    protected.write_fields({f.GUEST_RFLAGS: 2 | NT})
    found = protected.launch(b"\x90\xcf")
    assert (found.reason, found.rip) == (f.EXIT_REASON_TASK_SWITCH, CODE_PA + 1)
    assert information(protected) == {"qualification": IRET | OTHER_TASK, "length": 1}


@pytest.mark.parametrize(
    ("link", "rights", "vector"),
    [
        (OTHER_TASK, TSS_32, f.VECTOR_TS),  # not busy
        (OTHER_TASK | 4, BUSY_TSS_32, f.VECTOR_TS),
        (0x200, BUSY_TSS_32, f.VECTOR_TS),
        (OTHER_TASK, BUSY_TSS_32 & ~0x80, f.VECTOR_NP),
    ],
)
def test_a_link_that_leads_nowhere_is_a_fault(protected, link, rights, vector):
    protected.ram.write(TSS_PA, link.to_bytes(2, "little"))
    protected.ram.u64[(GDT_PA >> 3) + 9] = system_descriptor(CODE_PA + 0x800, 0x67, rights)
    protected.write_fields({f.GUEST_RFLAGS: 2 | NT, f.EXCEPTION_BITMAP: 1 << vector})
    protected.launch(b"\xcf")
    assert information(protected) == {"event": HARDWARE_WITH_CODE | vector, "event_code": link & ~3}


@pytest.mark.parametrize(
    ("selector", "descriptor", "vector", "code"),
    [
        (OTHER_TASK, system_descriptor(CODE_PA, 0x67, BUSY_TSS_32), f.VECTOR_GP, OTHER_TASK),
        (OTHER_TASK, system_descriptor(CODE_PA, 0x67, 0x09), f.VECTOR_NP, OTHER_TASK),
        (OTHER_TASK, system_descriptor(CODE_PA, 0x66, TSS_32), f.VECTOR_TS, OTHER_TASK),
        (OTHER_TASK | 3, system_descriptor(CODE_PA, 0x67, TSS_32), f.VECTOR_GP, OTHER_TASK),
        (GATE, system_descriptor(CODE_PA, 0x67, BUSY_TSS_32), f.VECTOR_GP, OTHER_TASK),
    ],
)
def test_a_task_that_cannot_be_switched_to_is_a_fault_first(
    protected, selector, descriptor, vector, code
):
    protected.ram.u64[(GDT_PA >> 3) + 9] = descriptor
    protected.write_fields({f.EXCEPTION_BITMAP: 1 << vector})
    protected.launch(far(0xEA, selector))
    assert information(protected) == {"event": HARDWARE_WITH_CODE | vector, "event_code": code}


def test_far_transfers_to_code_are_the_guests(protected):
    protected.engine.write_code(CODE_PA + 0x200, b"\x40\xcb")  # INC EAX; RETF
    protected.engine.write_code(CODE_PA + 0x300, b"\x43\xf4")  # INC EBX; HLT
    code = far(0x9A, 0x10, CODE_PA + 0x200) + far(0xEA, 0x10, CODE_PA + 0x300)
    found = protected.launch(code, rax=0, rbx=0)
    assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, CODE_PA + 0x301)
    assert (protected.gpr("rax"), protected.gpr("rbx")) == (1, 1)
    assert protected.unit.retired == 5


def test_iret_to_the_same_task_is_the_guests(protected):
    frame = CODE_PA + 0x300, 0x10, 2
    protected.ram.write(STACK_PA + 0xF00, b"".join(n.to_bytes(4, "little") for n in frame))
    protected.engine.write_code(CODE_PA + 0x300, b"\xf4")
    found = protected.launch(b"\xcf")
    assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, CODE_PA + 0x300)
    assert protected.read(f.GUEST_RSP) == STACK_PA + 0xF0C


@pytest.mark.parametrize("code", [far(0xEA, 0x10, CODE_PA + 0x300), b"\xcf"])
def test_single_stepped_ones_trap_behind_them(protected, code):
    """SDM 3, "Single-Step Exception Condition": by RFLAGS.TF when the instruction begins."""
    frame = CODE_PA + 0x300, 0x10, 2
    protected.ram.write(STACK_PA + 0xF00, b"".join(n.to_bytes(4, "little") for n in frame))
    protected.engine.write_code(CODE_PA + 0x300, b"\x90\xf4")
    protected.write_fields({f.GUEST_RFLAGS: 2 | f.RFLAGS_TF, f.EXCEPTION_BITMAP: 2})
    found = protected.launch(code)
    assert (found.reason, found.rip) == (f.EXIT_REASON_EXCEPTION_OR_NMI, CODE_PA + 0x300)
    assert found.qualification == 1 << 14
    kept = 0 if code == b"\xcf" else f.RFLAGS_TF
    assert protected.read(f.GUEST_RFLAGS) & f.RFLAGS_TF == kept
