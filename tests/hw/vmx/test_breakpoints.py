"""Breakpoints in the guest's debug registers.

SDM 3, "Debug Registers" (DR7's fields, "Debug Registers and Intel 64 Processors"), "Breakpoint
Exception Conditions"; for a guest, the exit qualification of #DB and pending debug exceptions."""

import pytest

from ntsim.abi import vmx_constants as f

from .conftest import (
    CODE_VA,
    DATA_VA,
    HANDLER_SIZE,
    HANDLERS_VA,
    STACK_PA,
    STACK_TOP,
    GuestRig,
)

EXECUTE, WRITE, PORT, ACCESS = range(4)
LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}
BS, ENABLED = 1 << 14, 1 << 12
DB_HANDLER = HANDLERS_VA + HANDLER_SIZE
DE = 1 << 3


def armed(number, address, kind, length=1, *, globally=False):
    """What arms a breakpoint, for `watch`."""
    dr7 = 1 << 2 * number + globally | (kind | LENGTHS[length] << 2) << 16 + 4 * number
    return number, address, dr7


def watch(guest: GuestRig, *breakpoints, exits=True):
    """Debug registers of the guest, which VM entry loads."""
    guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_LOAD_DEBUG_CONTROLS)
    guest.control(f.VM_EXIT_CONTROLS, f.VM_EXIT_SAVE_DEBUG_CONTROLS)
    dr7 = 0x400
    for number, address, bits in breakpoints:
        guest.processor.dr[number] = address
        dr7 |= bits
    guest.write_fields({f.GUEST_DR7: dr7, f.EXCEPTION_BITMAP: 1 << 1 if exits else 0})


def is_debug(guest, found, causes, rip):
    assert found.reason == f.EXIT_REASON_EXCEPTION_OR_NMI, found
    assert guest.read(f.VM_EXIT_INTR_INFO) == 0x8000_0301
    assert (found.qualification, found.rip) == (causes, rip)


class TestInstructions:
    def test_one_stops_before_its_instruction(self, guest):
        watch(guest, armed(2, CODE_VA + 3, EXECUTE))
        found = guest.launch("inc rax; inc rax; hlt", rax=0)
        is_debug(guest, found, 1 << 2, CODE_VA + 3)
        assert guest.gpr("rax") == 1
        assert not guest.read(f.GUEST_RFLAGS) & f.RFLAGS_RF

    def test_the_resume_flag_lets_it_pass_once(self, guest):
        watch(guest, armed(0, CODE_VA, EXECUTE))
        is_debug(guest, guest.launch("inc rax; jmp rbx", rax=0, rbx=CODE_VA), 1, CODE_VA)
        guest.write_fields({f.GUEST_RFLAGS: 2 | f.RFLAGS_RF})
        is_debug(guest, guest.resume(skip=False), 1, CODE_VA)
        assert guest.gpr("rax") == 1

    @pytest.mark.parametrize("code", ["rdtsc; nop; jmp rbx", "mov rcx, cr4; nop; jmp rbx"])
    def test_the_resume_flag_is_cleared_by_an_instruction_that_stops_the_engine(self, guest, code):
        watch(guest, armed(0, CODE_VA, EXECUTE))
        is_debug(guest, guest.launch(code, rbx=CODE_VA), 1, CODE_VA)
        guest.write_fields({f.GUEST_RFLAGS: 2 | f.RFLAGS_RF})
        is_debug(guest, guest.resume(skip=False), 1, CODE_VA)

    def test_one_comes_before_the_exit_of_its_instruction(self, guest):
        watch(guest, armed(0, CODE_VA, EXECUTE))
        is_debug(guest, guest.launch("cpuid; hlt"), 1, CODE_VA)

    def test_through_the_idt_dr6_says_which(self, guest):
        watch(guest, armed(1, CODE_VA + 3, EXECUTE, globally=True), exits=False)
        found = guest.launch("inc rax; inc rax; hlt")
        assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, DB_HANDLER)
        assert guest.processor.dr[6] == 0xFFFF_0FF2
        assert guest.ram.u64[(STACK_PA + 0x1000 - 0x10 - 40) >> 3] == CODE_VA + 3

    def test_a_move_to_ss_holds_it_off(self, guest):
        watch(guest, armed(0, CODE_VA + 2, EXECUTE))
        found = guest.launch("mov ss, eax; nop; hlt", rax=0x18)
        assert found.reason == f.EXIT_REASON_HLT

    def test_disabled_ones_do_nothing(self, guest):
        number, address, _ = armed(0, CODE_VA, EXECUTE)
        watch(guest, (number, address, 0))
        assert guest.launch("inc rax; hlt").reason == f.EXIT_REASON_HLT

    def test_an_entry_that_loads_no_debug_controls_has_none(self, guest):
        guest.processor.dr[0] = CODE_VA
        guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_LOAD_DEBUG_CONTROLS)
        guest.write_fields({f.GUEST_DR7: 0x401, f.EXCEPTION_BITMAP: 2})
        is_debug(guest, guest.launch("cpuid; hlt"), 1, CODE_VA)
        guest.control(f.VM_ENTRY_CONTROLS, f.VM_ENTRY_LOAD_DEBUG_CONTROLS, clear=True)
        assert guest.resume(skip=False).reason == f.EXIT_REASON_CPUID


WRITES = {
    "mov [rax], rbx": 8,
    "mov [rax], bl": 1,
    "add dword ptr [rax], 1": 4,
    "push rbx": 8,
    "stosb": 1,
    "movsq": 8,
    "xchg [rax], rbx": 8,
    "movups [rax], xmm0": 16,
    "sete [rax]": 1,
    "call rcx": 8,
}


class TestData:
    @pytest.mark.parametrize("code", WRITES)
    @pytest.mark.parametrize("kind", [WRITE, ACCESS])
    def test_a_write_is_trapped_behind_the_instruction(self, guest, code, kind):
        at = STACK_TOP - 8 if code.split()[0] in ("push", "call") else DATA_VA
        watch(guest, armed(3, at, kind))
        raw = guest.put(f"{code}; nop; hlt")
        size = len(raw) - 2
        target = CODE_VA + (size if code != "call rcx" else 0x800)
        guest.put("nop; hlt", 0x800)
        registers = {"rax": DATA_VA, "rdi": DATA_VA, "rsi": DATA_VA + 64, "rcx": CODE_VA + 0x800}
        is_debug(guest, guest.launch(**registers), 1 << 3, target)

    @pytest.mark.parametrize("code", ["mov rbx, [rax]", "cmp [rax], rbx", "lodsb", "pop rbx"])
    def test_a_read_counts_for_accesses_alone(self, guest, code):
        at = STACK_TOP if code == "pop rbx" else DATA_VA
        watch(guest, armed(0, at, WRITE), armed(1, at, ACCESS))
        size = len(guest.put(f"{code}; hlt")) - 1
        found = guest.launch(rax=DATA_VA, rsi=DATA_VA)
        is_debug(guest, found, 1 << 1, CODE_VA + size)

    @pytest.mark.parametrize(
        ("length", "address", "hits"),
        [
            (1, DATA_VA + 3, True),
            (1, DATA_VA + 4, False),
            (2, DATA_VA + 4, False),
            (4, DATA_VA - 4, False),
            (8, DATA_VA, True),
            (4, DATA_VA + 3, True),  # the low address bits do not count
            (8, DATA_VA + 7, True),
        ],
    )
    def test_any_byte_of_the_range(self, guest, length, address, hits):
        watch(guest, armed(0, address, WRITE, length))
        found = guest.launch("mov [rax], ebx; nop; hlt", rax=DATA_VA)
        assert (found.reason == f.EXIT_REASON_EXCEPTION_OR_NMI) is hits

    def test_an_address_that_is_not_accessed_does_not_count(self, guest):
        watch(guest, armed(0, DATA_VA, ACCESS))
        assert guest.launch("lea rbx, [rax]; hlt", rax=DATA_VA).reason == f.EXIT_REASON_HLT

    def test_each_iteration_of_a_repeated_string(self, guest):
        watch(guest, armed(0, DATA_VA + 2, WRITE))
        found = guest.launch("rep stosb; hlt", rdi=DATA_VA, rcx=5)
        is_debug(guest, found, 1, CODE_VA)
        assert guest.gpr("rcx") == 2
        assert guest.resume(skip=False).reason == f.EXIT_REASON_HLT

    def test_nothing_is_accessed_with_a_count_of_0(self, guest):
        watch(guest, armed(0, DATA_VA, WRITE))
        found = guest.launch("rep stosb; hlt", rdi=DATA_VA, rcx=0)
        assert found.reason == f.EXIT_REASON_HLT

    def test_a_fault_is_not_an_access(self, guest):
        watch(guest, armed(0, DATA_VA + 0x7_0000, WRITE))
        found = guest.launch("mov [rax], rbx; hlt", rax=DATA_VA + 0x7_0000)
        assert found.rip == HANDLERS_VA + 14 * HANDLER_SIZE

    def test_together_with_a_single_step(self, guest):
        watch(guest, armed(0, DATA_VA, WRITE))
        guest.write_fields({f.GUEST_RFLAGS: 2 | f.RFLAGS_TF})
        found = guest.launch("mov [rax], rbx; nop; hlt", rax=DATA_VA)
        is_debug(guest, found, BS | 1, CODE_VA + 3)

    def test_a_move_to_ss_puts_it_off_by_an_instruction(self, guest):
        guest.ram.u64[0x20_1000 >> 3] = 0x18
        watch(guest, armed(0, DATA_VA, ACCESS))
        found = guest.launch("mov ss, [rax]; nop; hlt", rax=DATA_VA)
        is_debug(guest, found, 1, CODE_VA + 3)

    def test_it_is_pending_when_the_next_instruction_exits(self, guest):
        guest.ram.u64[0x20_1000 >> 3] = 0x18
        watch(guest, armed(0, DATA_VA, ACCESS))
        found = guest.launch("mov ss, [rax]; cpuid; nop; hlt", rax=DATA_VA)
        assert (found.reason, found.rip) == (f.EXIT_REASON_CPUID, CODE_VA + 2)
        assert guest.read(f.GUEST_PENDING_DBG_EXCEPTIONS) == ENABLED | 1
        assert guest.read(f.GUEST_INTERRUPTIBILITY_STATE) == f.BLOCKING_BY_MOV_SS

    def test_the_guest_sets_them_itself(self, guest):
        code = "mov dr0, rax; mov dr7, rbx; mov [rax], rcx; nop; hlt"
        guest.write_fields({f.EXCEPTION_BITMAP: 2})
        found = guest.launch(code, rax=DATA_VA, rbx=0x400 | armed(0, 0, WRITE)[2])
        is_debug(guest, found, 1, CODE_VA + 9)


class TestPorts:
    @pytest.mark.parametrize(
        ("code", "extensions", "hits"),
        [
            ("out dx, al", True, True),
            ("in al, dx", True, True),
            ("out 0x71, al", True, True),
            ("out dx, al", False, False),
            ("out 0x72, al", True, False),
        ],
    )
    def test_they_need_debugging_extensions(self, guest, code, extensions, hits):
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_UNCONDITIONAL_IO_EXITING, clear=True)
        cr4 = guest.read(f.GUEST_CR4)
        guest.write_fields({f.GUEST_CR4: cr4 | DE if extensions else cr4 & ~DE})
        watch(guest, armed(0, 0x71, PORT))
        size = len(guest.put(f"{code}; nop; hlt")) - 2
        found = guest.launch(rdx=0x71)
        if hits:
            is_debug(guest, found, 1, CODE_VA + size)
        else:
            assert found.reason == f.EXIT_REASON_HLT


class TestMonitorTrapFlag:
    """SDM 3, "Monitor Trap Flag": its exits come before debug traps, which are pending then."""

    def test_a_single_step_is_pending_behind_it(self, guest):
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_MONITOR_TRAP_FLAG)
        guest.write_fields({f.GUEST_RFLAGS: 2 | f.RFLAGS_TF, f.EXCEPTION_BITMAP: 2})
        found = guest.launch("nop; nop; hlt")
        assert (found.reason, found.rip) == (f.EXIT_REASON_MONITOR_TRAP_FLAG, CODE_VA + 1)
        assert guest.read(f.GUEST_PENDING_DBG_EXCEPTIONS) == BS
        is_debug(guest, guest.resume(skip=False), BS, CODE_VA + 1)

    def test_so_is_a_data_breakpoint(self, guest):
        watch(guest, armed(0, DATA_VA, WRITE))
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_MONITOR_TRAP_FLAG)
        found = guest.launch("mov [rax], rbx; nop; hlt", rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_MONITOR_TRAP_FLAG
        assert guest.read(f.GUEST_PENDING_DBG_EXCEPTIONS) == ENABLED | 1
        is_debug(guest, guest.resume(skip=False), 1, CODE_VA + 3)

    def test_pages_that_the_processor_has_to_look_up_are_no_instruction(self, guest):
        guest.enable_ept()
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_MONITOR_TRAP_FLAG)
        found = guest.launch("mov rbx, [rax]; nop; hlt", rax=DATA_VA)
        assert (found.reason, found.rip) == (f.EXIT_REASON_MONITOR_TRAP_FLAG, CODE_VA + 3)
