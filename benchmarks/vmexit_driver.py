"""The driver of bench_vmexit.py: a guest that executes CPUID over and over, and its exit handler.

Loading it runs as many exits as its service name ends in: `exits5000`. The handler does what the
least of real ones does: it looks at the guest's registers, reads two fields of the VMCS, writes
one, and returns, which resumes the guest.
"""

from driver.vmcs import *
from driver.vmcs_setup import vmcs_setup
from driver.vmx_guest import SAVED_STACK, VMX_GUEST, alloc_guest, free_guest, vmx_start, vmx_stop
from ntsim.intrin import *
from ntsim.wdm import *

GUEST_CODE = bytes.fromhex("49ffc0 0fa2 ebf9")  # again: inc r8; cpuid; jmp again
TAG = int.from_bytes(b"BnVx", "little")


class GLOBALS(Structure):
    Guest: VMX_GUEST
    Stack: SAVED_STACK
    Exits: ULONG


g = GLOBALS()


def exit_handler(regs) -> None:
    """HOST_RIP."""
    if g.Exits <= regs.R8:
        restore_stack(g.Stack, 0)
    regs.Rax = 0x16
    _, length = __vmx_vmread(VM_EXIT_INSTRUCTION_LEN)
    _, rip = __vmx_vmread(GUEST_RIP)
    __vmx_vmwrite(GUEST_RIP, rip + length)


def DriverEntry(driver_object: PDRIVER_OBJECT, registry_path: PUNICODE_STRING) -> NTSTATUS:
    service = read_bytes(registry_path.Buffer, registry_path.Length).decode("utf-16-le")
    g.Exits = int(service.rpartition("exits")[2])
    code = ExAllocatePoolWithTag(NonPagedPool, len(GUEST_CODE), TAG)
    write_bytes(code, GUEST_CODE)
    failed = 1
    if alloc_guest(g.Guest):
        old_irql = KeRaiseIrqlToDpcLevel()
        failed = vmx_start(g.Guest) or vmcs_setup(g.Guest, code, exit_handler)
        failed = failed or save_stack(g.Stack, __vmx_vmlaunch)
        vmx_stop(g.Guest)
        _enable()
        KeLowerIrql(old_irql)
    free_guest(g.Guest)
    ExFreePoolWithTag(code, TAG)
    return STATUS_UNSUCCESSFUL if failed else STATUS_SUCCESS
