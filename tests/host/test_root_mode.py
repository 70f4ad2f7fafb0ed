"""VMX root operation is a place: what NT's routines need there and do not have.

After a VM exit RFLAGS.IF is clear (SDM 3, "Loading Host RIP, RSP, and RFLAGS"), and the stack is
the one that HOST_RSP names. What Windows makes of it is in real dumps: cutecatsandvirtualmachines/
SKLib issue 10 and tandasat/HyperPlatform issues 4 and 92 for the stack (0x139), SimpleVisor issue
35 and HyperBone issue 36 for the IRQL (0xFF).
"""

from __future__ import annotations

import time

import pytest

import ntsim
from driver.vmcs import HOST_RSP, PIN_BASED_VM_EXEC_CONTROL, VM_EXIT_REASON
from driver.vmcs_setup import vmcs_setup, write_fields
from driver.vmx_guest import VMX_GUEST, alloc_guest, skip_instruction, vmread, vmx_start
from ntsim.abi import vmx_constants as abi
from ntsim.abi.rtl import EXCEPTION_RECORD
from ntsim.intrin import *
from ntsim.wdm import *

from .hypervisor import VMCALL, Hypervisor, ept_identity, primary, run

OUTSIDE = 4  # FAST_FAIL_INCORRECT_STACK


def in_root(work, **hypervisor):
    """A hypervisor whose VMCALL handler does `work`, and a guest that asks for it."""

    def vmcall(regs):
        work()
        return True

    return Hypervisor(lambda: __vmx_vmcall(1), {VMCALL: vmcall}, **hypervisor)


def crash(hypervisor, **options):
    machine = ntsim.Machine(**{"processors": 1, **options})
    with pytest.raises(ntsim.BugCheck) as caught:
        machine.load_driver(hypervisor.DriverEntry, name="hv.sys")
    return caught.value, machine


def release_a_mutex_that_is_not_owned():
    mutex = KMUTEX()
    KeInitializeMutex(mutex, 0)
    KeReleaseMutex(mutex, FALSE)


def raise_a_status():
    ExRaiseStatus(STATUS_UNSUCCESSFUL)


RAISING = {
    "#GP": lambda: __writemsr(0xC0000082, 1 << 62),
    "ExRaiseStatus": raise_a_status,
    "RtlRaiseException": lambda: ExRaiseAccessViolation(),
    "ProbeForRead": lambda: ProbeForRead(0x1001, 8, 8),
    "KeReleaseMutex": release_a_mutex_that_is_not_owned,
    "pool": lambda: ExAllocatePoolQuotaZero(PagedPool, 1 << 40, 1),
}


@pytest.mark.parametrize("work", RAISING.values(), ids=RAISING)
def test_an_exception_on_the_drivers_own_stack_bugchecks_0x139_with_4(work):
    stop, machine = crash(in_root(work))
    code, (kind, _, record, reserved) = stop.code, stop.parameters
    assert (code, kind, reserved) == (0x139, OUTSIDE, 0)
    found = EXCEPTION_RECORD.at(machine.nt.mmu, record)
    assert found.ExceptionCode & 0xFFFFFFFF == STATUS_STACK_BUFFER_OVERRUN
    assert found.ExceptionInformation[0] == OUTSIDE
    machine.close()


def test_no_handler_around_it_helps():
    def work():
        try:
            __readmsr(0x174 << 8)
        except StructuredException:
            DbgPrint("not reached\n")

    stop, machine = crash(in_root(work))
    assert (stop.code, stop.parameters[0]) == (0x139, OUTSIDE)
    assert not machine.debug_output
    machine.close()


def on_the_threads_stack():
    """HOST_RSP in the kernel stack of the thread that virtualises, below what it uses."""
    here = int(ULONGLONG()) & ~0xF
    return [(HOST_RSP, here - 0x800)]


def test_on_the_threads_own_stack_the_driver_handles_it():
    caught = []

    def work():
        try:
            __writemsr(0xC0000082, 1 << 62)
        except StructuredException as error:
            caught.append(error.ExceptionCode)

    with run(in_root(work, fields=on_the_threads_stack)):
        assert caught == [STATUS_PRIVILEGED_INSTRUCTION]


def test_on_the_threads_own_stack_an_unhandled_one_is_0x1e():
    hypervisor = in_root(RAISING["#GP"], fields=on_the_threads_stack)
    stop, machine = crash(hypervisor)
    assert (stop.code, stop.parameters[0]) == (0x1E, STATUS_PRIVILEGED_INSTRUCTION)
    machine.close()


def test_the_stacks_limits_are_those_of_the_kthread():
    """Some hypervisors write their own stack's there, so that they can use __try."""
    caught = []

    def work():
        thread = cast(KeGetCurrentThread(), PKTHREAD)
        low, high = thread.StackLimit, thread.StackBase
        here = int(ULONGLONG())
        thread.StackLimit, thread.StackBase = here - 0x1000, here + 0x1000
        try:
            __writemsr(0xC0000082, 1 << 62)
        except StructuredException as error:
            caught.append(error.ExceptionCode)
        thread.StackLimit, thread.StackBase = low, high

    with run(in_root(work)):
        assert caught == [STATUS_PRIVILEGED_INSTRUCTION]


def test_the_limits_of_a_stack_that_is_not_the_threads_cannot_be_asked_for():
    stop, machine = crash(in_root(IoGetStackLimits))
    assert (stop.code, stop.parameters[0]) == (0x139, OUTSIDE)
    machine.close()


def test_the_report_says_which_exception_it_was_and_whose_stack():
    _, machine = crash(in_root(RAISING["#GP"]))
    report = machine.report()
    assert "STATUS_PRIVILEGED_INSTRUCTION" in report.summary
    assert "in a VM-exit handler" in report.summary
    texts = [step.text for step in report.why]
    exit_, check = (texts.index(t) for t in texts if "HOST_RSP" in t or "the stack's limits" in t)
    assert exit_ < check and "VM exit (EXIT_REASON_VMCALL" in texts[exit_]
    machine.close()


# Memory that is not there: the fault handler needs interrupts, and says 0xFF for the IRQL


def touching(touch):
    """A hypervisor whose handler touches paged pool that is not resident."""
    memory = []

    def guest():
        memory.append(ExAllocatePoolWithTag(PagedPool, 2 * PAGE_SIZE, 1))
        __vmx_vmcall(1)

    def vmcall(regs):
        touch(memory[0])
        return True

    return Hypervisor(guest, {VMCALL: vmcall})


READ, WRITE = 0, 1
BY_THE_DRIVER = {
    "read_bytes": (READ, lambda p: read_bytes(p, 1)),
    "write_bytes": (WRITE, lambda p: write_bytes(p, b"x")),
    "a field": (READ, lambda p: cast(p, PLIST_ENTRY).Flink),
    "a stored field": (WRITE, lambda p: setattr(cast(p, PKEVENT).Header, "Type", 1)),
    "an element": (READ, lambda p: cast(p, PULONG)[3]),
    "RtlZeroMemory": (WRITE, lambda p: RtlZeroMemory(p, 8)),
    "an interlocked operation": (WRITE, lambda p: InterlockedIncrement(cast(p, PLONG))),
    "an inline routine": (WRITE, lambda p: ExInitializeFastMutex(cast(p, PFAST_MUTEX))),
}
BY_THE_KERNEL = {
    "KeSetEvent": lambda p: KeSetEvent(cast(p, PKEVENT), 0, FALSE),
    "KeInitializeEvent": lambda p: KeInitializeEvent(cast(p, PKEVENT), NotificationEvent, FALSE),
    "RtlInitUnicodeString": lambda p: RtlInitUnicodeString(UNICODE_STRING(), p),
    "DbgPrint": lambda p: DbgPrint("%s", p),
    "InitializeSListHead": lambda p: ExInitializeSListHead(cast(p, PSLIST_HEADER)),
    "KeInitializeDpc": lambda p: KeInitializeDpc(cast(p, PKDPC), lambda *_: None, NULL),
}


@pytest.mark.parametrize(("access", "touch"), BY_THE_DRIVER.values(), ids=BY_THE_DRIVER)
def test_memory_that_the_driver_touches_in_root_bugchecks_0xd1_with_irql_0xff(access, touch):
    stop, machine = crash(touching(touch))
    assert (stop.code, stop.parameters[1:3], stop.irql) == (0xD1, (0xFF, access), 0xFF)
    assert machine.nt.describe_address(stop.parameters[3]).startswith("hv!")
    machine.close()


@pytest.mark.parametrize("touch", BY_THE_KERNEL.values(), ids=BY_THE_KERNEL)
def test_memory_that_a_routine_touches_in_root_bugchecks_0xa_with_irql_0xff(touch):
    stop, machine = crash(touching(touch))
    assert (stop.code, stop.parameters[1], stop.irql) == (0xA, 0xFF, 0xFF)
    assert machine.nt.describe_address(stop.parameters[3]).startswith("nt!")
    machine.close()


@pytest.mark.parametrize("address", [0x10, 0x7FF0_0000_0000, 0xFFFF_F900_0000_0000])
def test_so_do_null_user_and_invalid_system_addresses(address):
    stop, machine = crash(touching(lambda p: read_bytes(address, 1)))
    assert (stop.code, stop.parameters[:2], stop.irql) == (0xD1, (address, 0xFF), 0xFF)
    machine.close()


def test_memory_that_is_resident_may_be_touched():
    seen = []

    def guest():
        memory = ExAllocatePoolWithTag(PagedPool, PAGE_SIZE, 1)
        write_bytes(memory, b"here")
        __vmx_vmcall(1, memory)

    def vmcall(regs):
        seen.append(read_bytes(regs.Rdx, 4))
        return True

    with run(Hypervisor(guest, {VMCALL: vmcall})):
        assert seen == [b"here"]


# A processor that never comes back: another one takes its clock interrupts and notices


def loop():
    while True:
        KeGetCurrentIrql()


def never_back(work, number, guest=lambda: __vmx_vmcall(1)):
    """A hypervisor on processor `number` whose handler does `work` and does not end."""
    hypervisor = in_root(work)
    hypervisor.guest, hypervisor.processor = guest, number
    return hypervisor


def and_meanwhile(hypervisor, work, number):
    """DriverEntry that has a thread of processor `number` do `work` while the guest is gone."""

    def other(context):
        KeSetSystemAffinityThread(1 << number)
        interval = LARGE_INTEGER()
        interval.QuadPart = -1_000_000
        KeDelayExecutionThread(KernelMode, FALSE, interval)
        work()

    def DriverEntry(DriverObject, RegistryPath):
        PsCreateSystemThread(0, NULL, NULL, NULL, other, NULL)
        return hypervisor.DriverEntry(DriverObject, RegistryPath)

    return DriverEntry


def silent(DriverEntry, processors):
    machine = ntsim.Machine(processors=processors)
    with machine, pytest.raises(ntsim.BugCheck) as caught:
        machine.load_driver(DriverEntry, name="hv.sys")
    return caught.value, machine


@pytest.mark.parametrize("work", [loop, __halt], ids=["a loop", "HLT"])
@pytest.mark.parametrize(("processors", "number"), [(2, 0), (2, 1), (4, 2)])
def test_a_handler_that_does_not_return_bugchecks_0x101(work, processors, number):
    stop, machine = silent(never_back(work, number).DriverEntry, processors)
    assert stop.code == 0x101
    assert stop.parameters[1:] == (0, int(machine.nt.prcb[number]), number)
    assert stop.processor != number


def broadcast_by_ipi():
    KeIpiGenericCall(lambda context: 0, 0)


def broadcast_by_dpc():
    def each(dpc, context, argument1, argument2):
        KeSignalCallDpcSynchronize(argument2)
        KeSignalCallDpcDone(argument1)

    KeGenericCallDpc(each, NULL)


@pytest.mark.parametrize("broadcast", [broadcast_by_ipi, broadcast_by_dpc])
@pytest.mark.parametrize(("processors", "number", "sender"), [(2, 1, 0), (2, 0, 1), (4, 2, 0)])
def test_0x101_names_the_one_in_root_when_others_wait_for_it(broadcast, processors, number, sender):
    DriverEntry = and_meanwhile(never_back(loop, number), broadcast, sender)
    stop, machine = silent(DriverEntry, processors)
    assert (stop.code, stop.parameters[3]) == (0x101, number)
    assert "VM exit" in " ".join(step.text for step in machine.report().why)


def test_a_lock_that_the_guest_holds_is_never_free_in_its_handler():
    lock = []

    def guest():
        lock.append(KSPIN_LOCK())
        KeInitializeSpinLock(lock[0])
        old = KeAcquireSpinLockRaiseToDpc(lock[0])
        __vmx_vmcall(1)
        KeReleaseSpinLock(lock[0], old)

    def work():
        KeAcquireSpinLockAtDpcLevel(lock[0])

    stop, _ = silent(never_back(work, 1, guest).DriverEntry, 2)
    assert (stop.code, stop.parameters[3]) == (0x101, 1)


def test_on_the_only_processor_it_is_a_hang():
    with ntsim.Machine(processors=1) as machine, pytest.raises(ntsim.Hang):
        machine.load_driver(never_back(loop, 0).DriverEntry, name="hv.sys")


# Guests of their own that exit for ever


CPUID_HLT, JUMP_TO_ITSELF = b"\x0f\xa2\xf4", b"\xeb\xfe"


def take_interrupts(regs):
    """Does nothing about anything else."""
    if vmread(VM_EXIT_REASON) == abi.EXIT_REASON_EXTERNAL_INTERRUPT:
        _enable()
        _disable()


def endless(fields, machine, handler=take_interrupts, code=CPUID_HLT):
    """A driver with a small guest whose handler just returns."""

    def DriverEntry(DriverObject, RegistryPath):
        KeSetSystemAffinityThread(1)
        guest = cast(ExAllocatePoolWithTag(NonPagedPool, 64, 1), POINTER(VMX_GUEST))
        page = ExAllocatePoolWithTag(NonPagedPool, PAGE_SIZE, 1)
        write_bytes(page, code)
        assert alloc_guest(guest) and not vmx_start(guest)
        assert not vmcs_setup(guest, page, handler)
        assert not write_fields(fields())
        __vmx_vmlaunch()
        return STATUS_UNSUCCESSFUL

    machine.load_driver(DriverEntry, name="hv.sys")


def external_interrupts_exit():
    pin = vmread(PIN_BASED_VM_EXEC_CONTROL) | abi.PIN_BASED_EXTERNAL_INTERRUPT_EXITING
    return [(PIN_BASED_VM_EXEC_CONTROL, pin)]


def not_mapped():
    """EPT without a page for the code."""
    pointer, words = ept_identity()
    for page in range(128 * 512):
        words[1536 + page] = 0
    return [
        (abi.EPT_POINTER, pointer | 3 << 3 | 6),
        (abi.SECONDARY_VM_EXEC_CONTROL, abi.SECONDARY_ENABLE_EPT),
        *primary(abi.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)(),
        *external_interrupts_exit(),
    ]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (external_interrupts_exit, "CPUID at "),
        (not_mapped, "EPT_VIOLATION of guest-physical address 0x"),
    ],
)
def test_a_small_guest_that_exits_for_ever_ends_the_run_and_says_so(fields, text):
    with (
        ntsim.Machine(processors=1) as machine,
        pytest.raises(ntsim.Hang, match=f"{text}.* repeated 10,000 times"),
    ):
        endless(fields, machine)


def test_an_interrupt_that_nobody_takes_is_said_to_be_one():
    with (
        ntsim.Machine(processors=1) as machine,
        pytest.raises(ntsim.Hang, match=r"EXTERNAL_INTERRUPT at .* repeated 10,000 times"),
    ):
        endless(external_interrupts_exit, machine, lambda regs: None, JUMP_TO_ITSELF)


def test_with_interrupts_off_another_processor_notices_the_small_guest():
    with ntsim.Machine(processors=2) as machine, pytest.raises(ntsim.BugCheck) as caught:
        endless(list, machine)
    assert (caught.value.code, caught.value.parameters[3]) == (0x101, 0)


def test_with_interrupts_off_on_the_only_processor_the_small_guest_is_a_hang():
    with ntsim.Machine(processors=1) as machine, pytest.raises(ntsim.Hang, match="ten minutes"):
        endless(list, machine)


@pytest.mark.parametrize(("processors", "end"), [(1, None), (2, 0x101)])
def test_a_guest_that_computes_and_exits_for_ever_ends_soon(processors, end):
    """An exit is no progress, whatever the registers: it cost minutes of the host's time."""
    inc_cpuid = bytes.fromhex("48ffc0 0fa2 ebf9")
    began = time.process_time()
    with ntsim.Machine(processors=processors) as machine, pytest.raises(ntsim.Error) as caught:
        endless(list, machine, lambda regs: skip_instruction(), inc_cpuid)
    assert getattr(caught.value, "code", None) == end
    assert time.process_time() - began < 30


def test_a_handler_that_changes_registers_gets_on():
    """One iteration of a string instruction at a time, say."""

    def each(regs):
        regs.Rcx -= 1
        if vmread(VM_EXIT_REASON) == abi.EXIT_REASON_HLT:
            KeBugCheckEx(0xE2, count[0], 0, 0, 0)
        count[0] += 1
        if count[0] == 12_000:
            skip_instruction()

    count = [0]
    with ntsim.Machine(processors=1) as machine, pytest.raises(ntsim.BugCheck) as caught:
        endless(list, machine, each)
    assert caught.value.parameters[0] == 12_000
