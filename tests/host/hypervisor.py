"""A small hypervisor of the running system, whose handlers a test gives it."""

from __future__ import annotations

import ntsim
from driver.vmcs import *
from driver.vmcs_setup import (
    control_fields,
    guest_fields,
    host_fields,
    segment_fields,
    write_fields,
)
from driver.vmx_guest import VMX_GUEST, alloc_guest, vmread, vmx_start
from ntsim.abi import vmx_constants as abi
from ntsim.intrin import *
from ntsim.wdm import *

CPUID, VMCALL, RDMSR, WRMSR, IO = 10, 18, 31, 32, 30


class Hypervisor:
    """A driver that virtualises `processor` and runs `guest` there.

    `fields` are written last; `on` maps exit reasons to handlers that take the registers and return
    whether to skip the instruction. `seen` lists (reason, qualification) of every exit.
    """

    def __init__(self, guest, on=None, fields=None, alter=None):
        self.guest, self.on, self.alter = guest, on or {}, alter
        self.fields = fields or (lambda: [])
        self.seen, self.launched, self.result = [], None, None
        self.processor = 0

    def DriverEntry(self, DriverObject, RegistryPath):
        DriverObject.DriverUnload = lambda d: None
        KeSetSystemAffinityThread(1 << self.processor)
        self.memory = cast(ExAllocatePoolWithTag(NonPagedPool, 64, 1), POINTER(VMX_GUEST))
        self.slot = ExAllocatePoolWithTag(NonPagedPool, 8, 1)
        assert alloc_guest(self.memory) and not vmx_start(self.memory)
        self.launched = save_stack(self.slot, self.launch)
        if self.launched == 0:
            self.result = self.guest()
        return STATUS_SUCCESS

    def launch(self):
        return launch(self)

    def handler(self, regs):
        handle(self, regs)

    @property
    def reasons(self):
        return [reason for reason, _ in self.seen]


def launch(hypervisor):
    write_fields(control_fields())
    write_fields(host_fields(hypervisor.memory, hypervisor.handler))
    write_fields(guest_fields(hypervisor.memory, restore_stack))
    write_fields(segment_fields())
    quiet = CPU_BASED_HLT_EXITING | CPU_BASED_UNCOND_IO_EXITING
    write_fields(
        [
            (GUEST_RSP, cast(hypervisor.slot, PULONGLONG)[0]),
            (GUEST_RFLAGS, __readeflags()),
            (EXCEPTION_BITMAP, 0),
            (CPU_BASED_VM_EXEC_CONTROL, vmread(CPU_BASED_VM_EXEC_CONTROL) & ~quiet),
        ]
    )
    write_fields(hypervisor.fields())
    return __vmx_vmlaunch()


def handle(hypervisor, regs):
    reason = vmread(VM_EXIT_REASON)
    hypervisor.seen.append((reason, vmread(EXIT_QUALIFICATION)))
    if hypervisor.on.get(reason, pass_through)(regs):
        __vmx_vmwrite(GUEST_RIP, vmread(GUEST_RIP) + vmread(VM_EXIT_INSTRUCTION_LEN))


def pass_through(regs):
    """Do for the guest what it wanted to do."""
    reason, qualification = vmread(VM_EXIT_REASON), vmread(EXIT_QUALIFICATION)
    if reason == CPUID:
        regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = __cpuid(regs.Rax, regs.Rcx)
    elif reason == RDMSR:
        value = __readmsr(regs.Rcx)
        regs.Rax, regs.Rdx = value & 0xFFFFFFFF, value >> 32
    elif reason == WRMSR:
        __writemsr(regs.Rcx, regs.Rdx << 32 | regs.Rax)
    elif reason == abi.EXIT_REASON_CR_ACCESS and qualification & 0xF == 3:
        if qualification & 0x10:
            regs.Rax = vmread(GUEST_CR3)
        else:
            __vmx_vmwrite(GUEST_CR3, regs.Rax)
    return reason not in (abi.EXIT_REASON_EXTERNAL_INTERRUPT, abi.EXIT_REASON_INTERRUPT_WINDOW)


def run(hypervisor, **options):
    machine = ntsim.Machine(**{"processors": 1, **options})
    machine.load_driver(hypervisor.DriverEntry, name="hv.sys")
    return machine


def primary(bits):
    return lambda: [(CPU_BASED_VM_EXEC_CONTROL, vmread(CPU_BASED_VM_EXEC_CONTROL) | bits)]


def ept_identity():
    """An identity map of the first 256 MiB: its address, and its entries (leaves from 1536)."""
    tables = MmAllocateContiguousMemory(PAGE_SIZE * 131, MAXULONG64)
    RtlZeroMemory(tables, PAGE_SIZE * 131)
    pa = MmGetPhysicalAddress(tables)
    words = cast(tables, PULONGLONG)
    words[0] = pa + 0x1000 | 7
    words[512] = pa + 0x2000 | 7
    for i in range(128):
        words[1024 + i] = pa + (3 + i) * 0x1000 | 7
    for page in range(128 * 512):
        words[1536 + page] = page << 12 | 6 << 3 | 7
    return pa, words
