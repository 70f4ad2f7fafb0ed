"""SYSCALL where a driver has changed what it leads to: IA32_LSTAR, the code of KiSystemCall64,
IA32_EFER.SCE. Source: SDM 2, SYSCALL and SYSRET; SDM 3, "Exceptions" of VMX non-root operation.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import ntsim
from driver.vmcs import *
from driver.vmx_guest import vmread
from ntsim import win32
from ntsim.abi import vmx_constants as abi
from ntsim.host import kernel_image
from ntsim.intrin import *
from ntsim.nt.mm import layout
from ntsim.um import ntdll
from ntsim.wdm import *
from tests.host.hypervisor import Hypervisor, ept_identity

C = Path(__file__).parents[2] / "driver/c"
LSTAR, STAR, FMASK, EFER, KERNEL_GS = 0xC0000082, 0xC0000081, 0xC0000084, 0xC0000080, 0xC0000102
SCE = 1
read_msr, write_vmcs, read_cr3, write_cr3 = __readmsr, __vmx_vmwrite, __readcr3, __writecr3
EXCEPTION, UD = 0, 6


def uses_the_kernel():
    event = win32.CreateEvent(None, True, True, None)
    assert win32.WaitForSingleObject(event, 0) == win32.WAIT_OBJECT_0
    win32.CloseHandle(event)


@pytest.mark.parametrize("processors", [1, 2])
def test_code_at_lstar_sees_each_system_call_and_hands_it_on(ntsim_machine, processors):
    machine = ntsim_machine(processors=processors)
    driver = machine.load_driver(C / "lstar.sys")
    answers = []

    def app():
        uses_the_kernel()
        answers.append(ntdll.syscall(0xBAD, 5, 6))

    assert machine.run(app).exit_code == 0
    machine.unload_driver(driver)
    assert answers == [11]
    assert machine.debug_output == [
        "ours: a process of its own: 1",
        "closed: 1, created: 1",
        "from user code: 1, on a user stack: 1, flags 246, inside 0",
    ]
    assert machine.run(uses_the_kernel).exit_code == 0


def test_the_registers_of_the_processor_are_the_kernels_after_each_call(ntsim_machine):
    machine = ntsim_machine(processors=1)
    machine.load_driver(C / "lstar.sys")
    (processor,) = machine.nt.processors
    before = processor.gs.base, processor.cs.selector, processor.ss.selector, processor.cpl
    assert machine.run(uses_the_kernel).exit_code == 0
    after = processor.gs.base, processor.cs.selector, processor.ss.selector, processor.cpl
    assert (after, processor.msrs[KERNEL_GS]) == (before, 0)


def test_a_jump_over_the_first_bytes_of_kisystemcall64_is_met(ntsim_machine):
    """JMP [RIP+0] to code in pool, which has the bytes that were there and jumps behind them."""
    entry = layout.KI_SYSTEM_CALL_64

    def DriverEntry(DriverObject, RegistryPath):
        code = read_bytes(entry, 21)  # swapgs; mov gs:[10h], rsp; mov rsp, gs:[1A8h]
        pool = ExAllocatePoolWithTag(NonPagedPool, 64, 1)
        counter = ExAllocatePoolWithTag(NonPagedPool, 8, 1)
        cast(counter, PULONGLONG)[0] = 0
        count = b"\x49\xbb" + int(counter).to_bytes(8, "little") + b"\x49\xff\x03"
        jump = b"\xff\x25" + bytes(4)
        keep = b"\x41\x53"  # push r11; its flags come back from the stack
        put = b"\x41\x5b"
        back = jump + (entry + 21).to_bytes(8, "little")
        write_bytes(pool, code + keep + count + put + back)
        cr0 = __readcr0()
        __writecr0(cr0 & ~(1 << 16))
        write_bytes(entry, jump + int(pool).to_bytes(8, "little"))
        __writecr0(cr0)
        seen.append(counter)
        return STATUS_SUCCESS

    seen = []
    machine = ntsim_machine(processors=1)
    machine.load_driver(DriverEntry, name="drv.sys")
    assert machine.run(uses_the_kernel).exit_code == 0
    assert machine.nt.mmu.read_word(int(seen[0])) >= 4


def test_code_that_faults_before_swapgs_stops_by_name(ntsim_machine):
    def DriverEntry(DriverObject, RegistryPath):
        pool = ExAllocatePoolWithTag(NonPagedPool, 64, 1)
        write_bytes(pool, b"\x48\x8b\x04\x25\x10\x00\x00\x00")  # mov rax, [10h]
        __writemsr(LSTAR, int(pool))
        return STATUS_SUCCESS

    machine = ntsim_machine(processors=1)
    machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(ntsim.UnmodelledRoutine, match="SWAPGS"):
        machine.run(uses_the_kernel)


def test_a_python_routine_at_lstar_stops_by_name(ntsim_machine):
    def hook():
        return 0

    def DriverEntry(DriverObject, RegistryPath):
        place = PVOID()
        place[0] = hook
        __writemsr(LSTAR, int(place[0]))
        return STATUS_SUCCESS

    machine = ntsim_machine(processors=1)
    machine.load_driver(DriverEntry, name="drv.sys")
    with pytest.raises(ntsim.UnmodelledRoutine, match="SWAPGS"):
        machine.run(uses_the_kernel)


def test_without_sce_syscall_is_an_illegal_instruction_of_the_app(ntsim_machine):
    def DriverEntry(DriverObject, RegistryPath):
        __writemsr(EFER, __readmsr(EFER) & ~SCE)
        return STATUS_SUCCESS

    machine = ntsim_machine(processors=1)
    machine.load_driver(DriverEntry, name="drv.sys")
    process = machine.run(uses_the_kernel)
    assert process.exit_code == 0xC000001D


# SYSCALL and SYSRET emulated by a hypervisor


def segment(name, selector, rights):
    base = {"CS": (0x802, 0x4802, 0x4816, 0x6808), "SS": (0x804, 0x4804, 0x4818, 0x680A)}[name]
    values = selector, 0xFFFFFFFF, rights, 0
    for field, value in zip(base, values, strict=True):
        __vmx_vmwrite(field, value)


class Emulator(Hypervisor):
    """#UD exits: SYSCALL and SYSRET are done by hand, what else is undefined is injected."""

    def __init__(self, guest, **more):
        super().__init__(guest, on={EXCEPTION: self.emulate}, fields=self.without_sce, **more)
        self.calls, self.returns = [], 0

    def without_sce(self):
        entry, exit_ = abi.VM_ENTRY_LOAD_IA32_EFER, abi.VM_EXIT_LOAD_IA32_EFER
        efer = read_msr(EFER)  # fields 0x2806, 0x2C02: IA32_EFER of guest and host
        return [
            (EXCEPTION_BITMAP, 1 << UD),
            (abi.VM_ENTRY_CONTROLS, vmread(abi.VM_ENTRY_CONTROLS) | entry),
            (abi.VM_EXIT_CONTROLS, vmread(abi.VM_EXIT_CONTROLS) | exit_),
            (0x2806, efer & ~SCE),
            (0x2C02, efer),
        ]

    def emulate(self, regs):
        rip, own = vmread(GUEST_RIP), read_cr3()
        write_cr3(vmread(GUEST_CR3))
        code = read_bytes(rip, 3)
        write_cr3(own)
        star = read_msr(STAR)
        if code[:2] == b"\x0f\x05":
            flags = vmread(GUEST_RFLAGS)
            self.calls.append((regs.Rax, vmread(0x802), vmread(0x680E) != read_msr(0xC0000101)))
            regs.Rcx, regs.R11 = rip + 2, flags
            write_vmcs(GUEST_RIP, read_msr(LSTAR))
            write_vmcs(GUEST_RFLAGS, flags & ~(read_msr(FMASK) | 1 << 16))
            segment("CS", star >> 32 & 0xFFFC, 0xA09B)
            segment("SS", (star >> 32 & 0xFFFC) + 8, 0xC093)
        elif code == b"\x48\x0f\x07":
            self.returns += 1
            write_vmcs(GUEST_RIP, regs.Rcx)
            write_vmcs(GUEST_RFLAGS, regs.R11 & 0x3C7FD7 | 2)
            segment("CS", (star >> 48) + 16 | 3, 0xA0FB)
            segment("SS", (star >> 48) + 8 | 3, 0xC0F3)
        else:
            write_vmcs(abi.VM_ENTRY_INTR_INFO_FIELD, 1 << 31 | 3 << 8 | UD)
        return False


def test_a_hypervisor_that_clears_sce_sees_and_emulates_each_system_call(ntsim_machine):
    hypervisor = Emulator(lambda: None)
    machine = ntsim_machine(processors=1)
    machine.load_driver(hypervisor.DriverEntry, name="hv.sys")
    assert hypervisor.launched == 0
    assert machine.run(uses_the_kernel).exit_code == 0
    numbers = [number for number, _, _ in hypervisor.calls]
    for number in (0x48, 0x04, 0x0F):
        assert number in numbers, "NtCreateEvent, NtWaitForSingleObject, NtClose"
    assert {(selector, user_gs) for _, selector, user_gs in hypervisor.calls} == {(0x33, True)}
    # the app's last call, NtTerminateProcess, does not come back
    assert hypervisor.returns in (len(hypervisor.calls) - 1, len(hypervisor.calls))


def test_a_detour_that_ept_shows_to_instruction_fetches_alone_is_met_by_apps(ntsim_machine):
    """The page of nt!NtClose is for execution only, in a copy whose code jumps to a hook; who reads
    it is refused, and there is nobody who does."""
    seen = []

    def hook(handle):
        seen.append((handle != 0, ExGetPreviousMode()))
        return cast(trampoline[0], PROUTINE)(handle)

    trampoline, tables = [], []

    def jump(target):
        return b"\x48\xb8" + int(target).to_bytes(8, "little") + b"\xff\xe0"

    def prepare():
        body = MmGetSystemRoutineAddress(UNICODE_STRING("NtClose"))
        page, place = body & ~0xFFF, PVOID()
        copy = MmAllocateContiguousMemory(PAGE_SIZE, MAXULONG64)
        write_bytes(copy, read_bytes(page, PAGE_SIZE))
        trampoline.append(int(ExAllocatePoolWithTag(NonPagedPool, 64, 1)))
        write_bytes(trampoline[0], read_bytes(body, 15) + jump(body + 15))
        place[0] = hook
        write_bytes(copy + (body - page), jump(place[0]))
        pa, words = ept_identity()
        words[1536 + (MmGetPhysicalAddress(page) >> 12)] = MmGetPhysicalAddress(copy) | 6 << 3 | 4
        tables.append(pa)

    def fields():
        prepare()
        secondary = abi.SECONDARY_ENABLE_EPT
        chosen = vmread(CPU_BASED_VM_EXEC_CONTROL) | abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
        return [
            (CPU_BASED_VM_EXEC_CONTROL, chosen),
            (abi.SECONDARY_VM_EXEC_CONTROL, vmread(abi.SECONDARY_VM_EXEC_CONTROL) | secondary),
            (abi.EPT_POINTER, tables[0] | 3 << 3 | 6),
        ]

    hypervisor = Hypervisor(lambda: None, fields=fields)
    machine = ntsim_machine(processors=1)
    machine.load_driver(hypervisor.DriverEntry, name="hv.sys")
    assert hypervisor.launched == 0
    assert machine.run(uses_the_kernel).exit_code == 0
    assert seen == [(True, UserMode)]
    assert abi.EXIT_REASON_EPT_VIOLATION not in hypervisor.reasons


def test_the_services_of_kisystemcall64_lie_where_lstar_leads():
    code = kernel_image.system_call_code()
    assert code.startswith(b"\x0f\x01\xf8") and code.endswith(b"\x48\x0f\x07")
