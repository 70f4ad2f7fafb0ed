"""The driver of bench_vmexit.py: a guest that executes CPUID in a loop, as often as the registry
value Exits of its service says; the exit handler returns each time."""

from driver.vmcs import EXIT_REASON_CPUID, VM_EXIT_REASON
from driver.vmcs_setup import vmcs_setup
from driver.vmx_guest import (
    SAVED_STACK,
    VMX_GUEST,
    alloc_guest,
    skip_instruction,
    vmread,
    vmx_start,
    vmx_stop,
)
from ntsim.intrin import *
from ntsim.wdm import *

# mov r8d, count; again: cpuid; dec r8d; jnz again; hlt
BEFORE, AFTER = bytes.fromhex("41b8"), bytes.fromhex("0fa241ffc875f9f4")

Guest = VMX_GUEST()
SavedStack = SAVED_STACK()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    if not alloc_guest(Guest):
        return STATUS_INSUFFICIENT_RESOURCES
    code = BEFORE + exits_wanted(RegistryPath).to_bytes(4, "little") + AFTER
    Code = ExAllocatePoolWithTag(NonPagedPool, len(code), 0x68636E42)
    write_bytes(Code, code)
    OldIrql = KeRaiseIrqlToDpcLevel()
    failed = vmx_start(Guest) or vmcs_setup(Guest, Code, ExitHandler)
    failed = failed or save_stack(SavedStack, __vmx_vmlaunch)
    vmx_stop(Guest)
    _enable()
    KeLowerIrql(OldIrql)
    return STATUS_UNSUCCESSFUL if failed else STATUS_SUCCESS


def exits_wanted(RegistryPath: PUNICODE_STRING) -> int:
    Attributes = OBJECT_ATTRIBUTES()
    RtlZeroMemory(Attributes, sizeof(OBJECT_ATTRIBUTES))
    Attributes.Length = sizeof(OBJECT_ATTRIBUTES)
    Attributes.ObjectName = RegistryPath
    Attributes.Attributes = OBJ_KERNEL_HANDLE
    _, Key = ZwOpenKey(KEY_READ, Attributes)
    Value = (UCHAR * 64)()
    Length = ULONG()
    Name = UNICODE_STRING("Exits")
    ZwQueryValueKey(Key, Name, KeyValuePartialInformation, Value, 64, Length)
    ZwClose(Key)
    return int.from_bytes(read_bytes(Value, 16)[12:16], "little")


def ExitHandler(regs) -> None:
    if vmread(VM_EXIT_REASON) != EXIT_REASON_CPUID:
        restore_stack(SavedStack, 0)
    regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = 1, 2, 3, 4
    skip_instruction()
