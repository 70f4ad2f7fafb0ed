"""The driver of bench_vmexit.py: a guest whose exit handler returns each time.

Registry values of its service say what it does: it executes CPUID in a loop, Exits times, or adds
to a word in each of 16 pages, Rounds times, and exits once; Ept puts its memory behind EPT.
"""

from driver.hypervisor.ept import EPT_TABLES, AllocateEpt, Eptp, FreeEpt
from driver.hypervisor.fields import *
from driver.vmcs_setup import adjust_controls, vmcs_setup, write_fields
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

# mov r8d, count; again: mov rdi, pages; mov ecx, 16
# next: add qword [rdi], 1; add rdi, 4096; dec ecx; jnz next; dec r8d; jnz again; hlt
TO_PAGES = bytes.fromhex("48bf")
ADD = bytes.fromhex("b910000000 48830701 4881c700100000 ffc9 75f1 41ffc8 75dd f4")
PAGES, TAG = 16 * 4096, 0x68636E42

Guest = VMX_GUEST()
SavedStack = SAVED_STACK()
Ept = EPT_TABLES()


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    if not (alloc_guest(Guest) and AllocateEpt(Ept)):
        return STATUS_INSUFFICIENT_RESOURCES
    Pages = ExAllocatePoolWithTag(NonPagedPool, PAGES, TAG)
    Exits, Rounds = wanted(RegistryPath, "Exits"), wanted(RegistryPath, "Rounds")
    if Exits:
        code = BEFORE + Exits.to_bytes(4, "little") + AFTER
    else:
        where = int(Pages).to_bytes(8, "little")
        code = BEFORE + Rounds.to_bytes(4, "little") + TO_PAGES + where + ADD
    Code = ExAllocatePoolWithTag(NonPagedPool, len(code), TAG)
    write_bytes(Code, code)
    OldIrql = KeRaiseIrqlToDpcLevel()
    failed = vmx_start(Guest) or vmcs_setup(Guest, Code, ExitHandler)
    if wanted(RegistryPath, "Ept"):
        failed = failed or write_fields(ept_fields())
    failed = failed or save_stack(SavedStack, __vmx_vmlaunch)
    vmx_stop(Guest)
    _enable()
    KeLowerIrql(OldIrql)
    FreeEpt(Ept)
    return STATUS_UNSUCCESSFUL if failed else STATUS_SUCCESS


def ept_fields():
    Primary = vmread(CPU_BASED_VM_EXEC_CONTROL) | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    return [
        (CPU_BASED_VM_EXEC_CONTROL, Primary),
        (
            SECONDARY_VM_EXEC_CONTROL,
            adjust_controls(SECONDARY_ENABLE_EPT, MSR_IA32_VMX_PROCBASED_CTLS2),
        ),
        (EPT_POINTER, Eptp(Ept)),
    ]


def wanted(RegistryPath: PUNICODE_STRING, name) -> int:
    """The registry value; 0 if there is none."""
    Attributes = OBJECT_ATTRIBUTES()
    RtlZeroMemory(Attributes, sizeof(OBJECT_ATTRIBUTES))
    Attributes.Length = sizeof(OBJECT_ATTRIBUTES)
    Attributes.ObjectName = RegistryPath
    Attributes.Attributes = OBJ_KERNEL_HANDLE
    _, Key = ZwOpenKey(KEY_READ, Attributes)
    Value = (UCHAR * 64)()
    Length = ULONG()
    Name = UNICODE_STRING(name)
    Status = ZwQueryValueKey(Key, Name, KeyValuePartialInformation, Value, 64, Length)
    ZwClose(Key)
    if not NT_SUCCESS(Status):
        return 0
    return int.from_bytes(read_bytes(Value, 16)[12:16], "little")


def ExitHandler(regs) -> None:
    if vmread(VM_EXIT_REASON) != EXIT_REASON_CPUID:
        restore_stack(SavedStack, 0)
    regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = 1, 2, 3, 4
    skip_instruction()
