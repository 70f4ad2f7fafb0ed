"""A VM-exit handler that may call nothing queues what it is asked; a worker thread does it.

The story (an article on "0xFF IRQL" in VM exits): a guest asks its hypervisor something by VMCALL.
To answer, the driver has to look a process up and write to pageable memory. But the exit handler
runs with interrupts off, RFLAGS being 2 after every VM exit: no clock, no IPI, no page fault that
could be served, whatever CR8 says. Windows reports a fault there with IRQL 0xFF. Lowering the IRQL
would not help: the handler is no thread that could wait.

So it is split as Microsoft's "cancel" sample splits its own work:

* handle_vmcall takes a free COMMAND, fills it in, puts it on a list, and lets the guest go on with
  STATUS_PENDING. Nothing else.
* worker, a system thread at PASSIVE_LEVEL, looks at the list every ten milliseconds, does what was
  asked, and writes the answer where the app fetches it.

What the handler may use: memory that is resident (pool allocated before, image data), registers,
the VMCS, and a lock that never waits for an interrupt. ExInterlockedRemoveHeadList and
ExInterlockedInsertTailList are documented for any IRQL: they hold their spin lock with interrupts
off, on the worker's side too, so a processor never leaves the guest while it holds the lock itself.
KeAcquireSpinLock would not do: it writes CR8, which is still the guest's.

Look at vmexit_queue_wrong.py for the same driver without the queue.
"""

from driver.vmcs import EXIT_REASON_CPUID, EXIT_REASON_HLT, EXIT_REASON_VMCALL, VM_EXIT_REASON
from driver.vmcs_setup import vmcs_setup
from driver.vmexit_queue_ioctl import VMQ_DESCRIBE_PROCESS, VMQ_GET_ANSWERS, VMQ_RUN
from driver.vmx_guest import (
    SAVED_STACK,
    VMX_GUEST,
    alloc_guest,
    free_guest,
    keep_tables,
    put_tables_back,
    skip_instruction,
    vmread,
    vmx_start,
    vmx_stop,
    vmx_supported,
)
from ntsim.intrin import *
from ntsim.wdm import *

TAG = int.from_bytes(b"VmxQ", "little")
COMMAND_COUNT = 16
ANSWERS_SIZE = 0x1000  # bytes
POLL_INTERVAL = -10 * 1000 * 10  # ten milliseconds in units of 100 ns; negative: from now


class COMMAND(Structure):
    """What a guest asked; on one of the two lists, or in the hands of whoever took it off."""

    Link: LIST_ENTRY
    Code: ULONG
    Argument: ULONGLONG


class VMQ_GLOBALS(Structure):
    Guest: VMX_GUEST
    SavedStack: SAVED_STACK
    Answers: PVOID  # paged pool: a log may be long, so it need not be resident
    AnswersLength: ULONG
    Stop: BOOLEAN
    Worker: PVOID


g = VMQ_GLOBALS()
Commands = (COMMAND * COMMAND_COUNT)()
FreeCommands = LIST_ENTRY()
PendingCommands = LIST_ENTRY()
QueueLock = KSPIN_LOCK()

DeviceName = UNICODE_STRING("\\Device\\VmExitQueue")
LinkName = UNICODE_STRING("\\DosDevices\\VmExitQueue")


# The exit handler. Interrupts are off in all of it.


def vm_exit_handler(regs) -> None:
    """HOST_RIP: one routine for each exit reason; returning resumes the guest."""
    reason = vmread(VM_EXIT_REASON)
    EXIT_HANDLERS.get(reason, handle_anything_else)(regs)


def handle_vmcall(regs) -> None:
    regs.Rax = queue_command(regs.Rcx, regs.Rdx)
    skip_instruction()


def queue_command(code, argument) -> NTSTATUS:
    """Put what the guest asked on the list. Commands are there already: no pool from here."""
    entry = ExInterlockedRemoveHeadList(FreeCommands, QueueLock)
    if entry == NULL:
        return STATUS_INSUFFICIENT_RESOURCES
    command = CONTAINING_RECORD(entry, COMMAND, "Link")
    command.Code = code
    command.Argument = argument
    ExInterlockedInsertTailList(PendingCommands, command.Link, QueueLock)
    return STATUS_PENDING


def handle_cpuid(regs) -> None:
    regs.Rax, regs.Rbx, regs.Rcx, regs.Rdx = __cpuid(regs.Rax & 0xFFFFFFFF, regs.Rcx & 0xFFFFFFFF)
    skip_instruction()


def handle_hlt(regs) -> None:
    """The guest is done: back into run_guest, which sees 0."""
    restore_stack(g.SavedStack, 0)


def handle_anything_else(regs) -> None:
    """Not virtualised: back into run_guest, which sees a failure."""
    restore_stack(g.SavedStack, 1)


EXIT_HANDLERS = {
    EXIT_REASON_VMCALL: handle_vmcall,
    EXIT_REASON_CPUID: handle_cpuid,
    EXIT_REASON_HLT: handle_hlt,
}


# The worker: PASSIVE_LEVEL, its own stack, interrupts on.


def worker(context: PVOID) -> None:
    """Until the driver unloads: wait a little, then answer everything that is queued."""
    interval = LARGE_INTEGER()
    interval.QuadPart = POLL_INTERVAL
    while not g.Stop:
        KeDelayExecutionThread(KernelMode, FALSE, interval)
        while entry := ExInterlockedRemoveHeadList(PendingCommands, QueueLock):
            command = CONTAINING_RECORD(entry, COMMAND, "Link")
            answer_command(command.Code, command.Argument)
            ExInterlockedInsertTailList(FreeCommands, command.Link, QueueLock)
    PsTerminateSystemThread(STATUS_SUCCESS)


def answer_command(code, argument) -> None:
    """The work itself: an NT routine for IRQL <= APC_LEVEL, then pageable memory."""
    if code == VMQ_DESCRIBE_PROCESS:
        append_answer(describe_process(argument))
    else:
        append_answer(f"unknown command {code}")


def describe_process(process_id) -> str:
    status, process = PsLookupProcessByProcessId(process_id)
    if not NT_SUCCESS(status):
        return f"process {process_id}: {status:#x}"
    created = PsGetProcessCreateTimeQuadPart(process)
    ObDereferenceObject(process)
    return f"process {process_id}: runs since {created}"


def append_answer(text) -> None:
    """Add a line; what no longer fits is lost. The length comes last: it says what can be read."""
    line = text.encode() + b"\n"
    if g.AnswersLength + len(line) <= ANSWERS_SIZE:
        write_bytes(g.Answers + g.AnswersLength, line)
        g.AnswersLength += len(line)


# The device.


def DriverEntry(driver_object: PDRIVER_OBJECT, registry_path: PUNICODE_STRING) -> NTSTATUS:
    """Exclusive: there is one guest."""
    if not vmx_supported():
        return STATUS_NOT_SUPPORTED
    status, device_object = IoCreateDevice(
        driver_object, 0, DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, TRUE
    )
    if not NT_SUCCESS(status):
        return status
    driver_object.MajorFunction[IRP_MJ_CREATE] = create_close
    driver_object.MajorFunction[IRP_MJ_CLOSE] = create_close
    driver_object.MajorFunction[IRP_MJ_DEVICE_CONTROL] = device_control
    driver_object.DriverUnload = unload
    status = start()
    if not NT_SUCCESS(status):
        IoDeleteDevice(device_object)
    return status


def start() -> NTSTATUS:
    """Everything that has to exist before the first exit; all of it or nothing."""
    prepare_commands()
    g.Answers = ExAllocatePoolWithTag(PagedPool, ANSWERS_SIZE, TAG)
    if not alloc_guest(g.Guest) or g.Answers == NULL:
        free_memory()
        return STATUS_INSUFFICIENT_RESOURCES
    status = IoCreateSymbolicLink(LinkName, DeviceName)
    if NT_SUCCESS(status):
        status = start_worker()
        if not NT_SUCCESS(status):
            IoDeleteSymbolicLink(LinkName)
    if not NT_SUCCESS(status):
        free_memory()
    return status


def prepare_commands() -> None:
    KeInitializeSpinLock(QueueLock)
    InitializeListHead(PendingCommands)
    InitializeListHead(FreeCommands)
    for i in range(COMMAND_COUNT):
        InsertTailList(FreeCommands, Commands[i].Link)


def start_worker() -> NTSTATUS:
    """A system thread, and a reference to it for unload to wait on."""
    status, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, worker, NULL)
    if not NT_SUCCESS(status):
        return status
    status, g.Worker = ObReferenceObjectByHandle(handle, THREAD_ALL_ACCESS, NULL, KernelMode, NULL)
    ZwClose(handle)
    return status


def unload(driver_object: PDRIVER_OBJECT) -> None:
    """The worker's code goes away with the driver, so wait for its last instruction."""
    g.Stop = TRUE
    KeWaitForSingleObject(g.Worker, Executive, KernelMode, FALSE, NULL)
    ObDereferenceObject(g.Worker)
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(driver_object.DeviceObject)
    free_memory()


def free_memory() -> None:
    free_guest(g.Guest)
    if g.Answers:
        ExFreePoolWithTag(g.Answers, TAG)


def create_close(device_object: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS:
    return complete(irp, STATUS_SUCCESS, 0)


def device_control(device_object: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS:
    request = IoGetCurrentIrpStackLocation(irp).Parameters.DeviceIoControl
    buffer = irp.AssociatedIrp.SystemBuffer
    if request.IoControlCode == VMQ_RUN:
        return complete(irp, run_code(buffer, request.InputBufferLength), 0)
    if request.IoControlCode == VMQ_GET_ANSWERS:
        length = min(g.AnswersLength, request.OutputBufferLength)
        RtlCopyMemory(buffer, g.Answers, length)
        return complete(irp, STATUS_SUCCESS, length)
    return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0)


def run_code(buffer, length) -> NTSTATUS:
    """Copy the guest's code to where it can be executed, run it to its HLT, forget it."""
    if length == 0:
        return STATUS_INVALID_PARAMETER
    code = ExAllocatePoolWithTag(NonPagedPool, length, TAG)
    if code == NULL:
        return STATUS_INSUFFICIENT_RESOURCES
    RtlCopyMemory(code, buffer, length)
    failed = run_guest(code)
    ExFreePoolWithTag(code, TAG)
    return STATUS_UNSUCCESSFUL if failed else STATUS_SUCCESS


def run_guest(code) -> int:
    """VMXON to VMXOFF on one processor. 0: the guest halted. Not 0: it did not start, or broke off.

    What a VM exit leaves behind is put right here (eh_fixed.py explains): the limits of GDT and
    IDT, interrupts on, level down.
    """
    old_irql = KeRaiseIrqlToDpcLevel()
    tables = keep_tables()
    failed = vmx_start(g.Guest)
    if not failed:
        failed = vmcs_setup(g.Guest, code, vm_exit_handler)
        failed = failed or save_stack(g.SavedStack, __vmx_vmlaunch)
        vmx_stop(g.Guest)
    put_tables_back(tables)
    _enable()
    KeLowerIrql(old_irql)
    return failed


def complete(irp: PIRP, status: NTSTATUS, information: ULONG_PTR) -> NTSTATUS:
    irp.IoStatus.Status = status
    irp.IoStatus.Information = information
    IoCompleteRequest(irp, IO_NO_INCREMENT)
    return status
