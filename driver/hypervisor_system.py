"""A hypervisor below the running system: the tutorial's parts 4 to 8 in one driver.

Read it in this order, which is the tutorial's:

    hypervisor/ept.py           part 4: EPT tables, and what address an address becomes
    hypervisor/small_guest.py   part 5: VMLAUNCH of a few bytes of code
    hypervisor/setup.py         part 5, 6: a VMCS from the processor's present state
    hypervisor/system.py        part 6: the running system as guest, processor by processor
    hypervisor/exits.py         part 6: an exit handler, a routine for each reason
    hypervisor/services.py      part 6: VMCALL, what is answered
    hypervisor/broadcast.py     part 6: VMCALL, asked on every processor
    hypervisor/bitmaps.py       part 6: which MSRs and ports exit
    hypervisor/hooks.py         part 7: pages whose accesses exit, one instruction at a time
    hypervisor/watch.py         part 7: such a page of the app
    hypervisor/hidden.py        part 8: a breakpoint in the kernel that nobody can read
    hypervisor/monitor.py       part 8: exits reach the app while it runs: rings and DPCs
    hypervisor/requests.py      part 8: requests that wait, in a cancel-safe queue

This file is the device. Ways out: HV_DEVIRTUALISE; IRP_MJ_CLEANUP, which comes for a killed app
too, and before any unloading; and a processor that refuses half-way through. All end in
DevirtualiseSystem. An app has several threads: one request at a time may change anything, which
ControlMutex sees to.
"""

from driver.hypervisor.broadcast import CallEach
from driver.hypervisor.ept import Translate
from driver.hypervisor.hidden import HideBreakpoint
from driver.hypervisor.monitor import FreeMonitor, InitializeMonitor, StartMonitor, StopMonitor
from driver.hypervisor.requests import CancelRequests, CompleteRequest, WaitForEvents
from driver.hypervisor.services import SERVICE_EXITS, SERVICE_WATCH_MSR, SERVICE_WATCH_PORT
from driver.hypervisor.small_guest import RunSmallGuest
from driver.hypervisor.system import BY_AFFINITY, WAYS, DevirtualiseSystem, VirtualiseSystem
from driver.hypervisor.system_ioctl import *
from driver.hypervisor.vcpu import VIRTUALISED, AllocateVcpus, FreeVcpus, hv
from driver.hypervisor.watch import RemoveHook, RemoveHooks, WatchPage
from driver.vmcs import CR4_VMXE
from driver.vmx_guest import alloc_vmx_region, vmx_supported
from ntsim.intrin import *
from ntsim.wdm import *

TAG = int.from_bytes(b"HvSy", "little")
COM1, IA32_LSTAR = 0x3F8, 0xC0000082
NOT_ON = 0xFF  # no hypervisor here: VMXON is not tried
Counted = (ULONGLONG * 64)()
ControlMutex = KMUTEX()


class DEVICE_STATE(Structure):
    """Whether somebody has the device open."""

    Open: BOOLEAN


ds = DEVICE_STATE()

DeviceName = UNICODE_STRING("\\Device\\HypervisorSystem")
LinkName = UNICODE_STRING("\\DosDevices\\HypervisorSystem")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    """Exclusive: there is one system to virtualise."""
    if not vmx_supported():
        return STATUS_NOT_SUPPORTED
    Status, DeviceObject = IoCreateDevice(
        DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, TRUE
    )
    if not NT_SUCCESS(Status):
        return Status
    DriverObject.MajorFunction[IRP_MJ_CREATE] = Create
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = Close
    DriverObject.MajorFunction[IRP_MJ_CLEANUP] = Cleanup
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = DeviceControl
    DriverObject.DriverUnload = Unload
    Status = Start()
    if not NT_SUCCESS(Status):
        IoDeleteDevice(DeviceObject)
    return Status


def Start() -> NTSTATUS:
    """All of it or nothing. DriverEntry runs in the System process: its CR3 is there to stay."""
    hv.SystemCr3 = __readcr3()
    KeInitializeMutex(ControlMutex, 0)
    if not AllocateVcpus():
        return STATUS_INSUFFICIENT_RESOURCES
    Status = InitializeMonitor()
    if NT_SUCCESS(Status):
        Status = IoCreateSymbolicLink(LinkName, DeviceName)
        if not NT_SUCCESS(Status):
            FreeMonitor()
    if not NT_SUCCESS(Status):
        FreeVcpus()
    return Status


def Unload(DriverObject: PDRIVER_OBJECT) -> None:
    """No handle is open any more, so Cleanup has been here."""
    FreeMonitor()
    FreeVcpus()
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)


def Create(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    StartMonitor()
    ds.Open = TRUE
    return CompleteRequest(Irp, STATUS_SUCCESS, 0)


def Cleanup(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """The last handle is closed, by the app or by its end.

    Another thread's request may still be on its way: it waits for the mutex, and finds Open FALSE.
    """
    CancelRequests()
    KeWaitForSingleObject(ControlMutex, Executive, KernelMode, FALSE, NULL)
    ds.Open = FALSE
    RemoveHooks()
    DevirtualiseSystem(BY_AFFINITY)
    KeReleaseMutex(ControlMutex, FALSE)
    StopMonitor()
    return CompleteRequest(Irp, STATUS_SUCCESS, 0)


def Close(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return CompleteRequest(Irp, STATUS_SUCCESS, 0)


def DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    Request = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl
    Code = Request.IoControlCode
    if Code == HV_EVENTS:
        return WaitForEvents(Irp)
    Routine = ROUTINES.get(Code)
    if Routine is None:
        return CompleteRequest(Irp, STATUS_INVALID_DEVICE_REQUEST, 0)
    Input = read_bytes(Irp.AssociatedIrp.SystemBuffer, Request.InputBufferLength)
    Status, Output = OneAtATime(Routine, Input)
    if len(Output) > Request.OutputBufferLength:
        return CompleteRequest(Irp, STATUS_BUFFER_TOO_SMALL, 0)
    write_bytes(Irp.AssociatedIrp.SystemBuffer, Output)
    return CompleteRequest(Irp, Status, len(Output))


def OneAtATime(Routine, Input):
    KeWaitForSingleObject(ControlMutex, Executive, KernelMode, FALSE, NULL)
    Status, Output = Routine(Input) if ds.Open else (STATUS_CANCELLED, b"")
    KeReleaseMutex(ControlMutex, FALSE)
    return Status, Output


def Number(Input) -> int:
    return int.from_bytes(Input, "little")


def Quads(*Values) -> bytes:
    return b"".join(Value.to_bytes(8, "little") for Value in Values)


def IoctlTranslate(Input):
    Walked, Found = Translate(hv.Vcpus[0].Ept, Number(Input))
    return STATUS_SUCCESS, Quads(NO_ADDRESS if Found is None else Found, *(E for _, E in Walked))


def IoctlPhysical(Input):
    """In the app's address space, which this runs in."""
    return STATUS_SUCCESS, Quads(MmGetPhysicalAddress(Number(Input)))


def IoctlRunGuest(Input):
    """NonPagedPool is executable."""
    if not Input:
        return STATUS_INVALID_PARAMETER, b""
    if hv.Vcpus[0].State == VIRTUALISED:
        return STATUS_DEVICE_BUSY, b""
    Code = ExAllocatePoolWithTag(NonPagedPool, len(Input), TAG)
    if Code == NULL:
        return STATUS_INSUFFICIENT_RESOURCES, b""
    write_bytes(Code, Input)
    Exits = RunSmallGuest(Code)
    ExFreePoolWithTag(Code, TAG)
    if Exits is None:
        return STATUS_HV_OPERATION_FAILED, b""
    return STATUS_SUCCESS, Quads(*(Part for Exit in Exits for Part in Exit))


def IoctlVirtualise(Input):
    if hv.Vcpus[0].State == VIRTUALISED:
        return STATUS_DEVICE_BUSY, b""
    if Number(Input) not in WAYS:
        return STATUS_INVALID_PARAMETER, b""
    return VirtualiseSystem(Number(Input)), b""


def IoctlDevirtualise(Input):
    if Number(Input) not in WAYS:
        return STATUS_INVALID_PARAMETER, b""
    RemoveHooks()
    DevirtualiseSystem(Number(Input))
    return STATUS_SUCCESS, b""


def IoctlWatchPage(Input):
    Status, Hook = WatchPage(Number(Input[:8]), Number(Input[8:]))
    return Status, Quads(Hook)


def IoctlForgetPage(Input):
    return RemoveHook(Number(Input)), b""


def IoctlHideBreakpoint(Input):
    Status, Hook, Address = HideBreakpoint(Input.decode("ascii", "replace"))
    return Status, Quads(Hook, Address)


def IoctlWatchMsr(Input):
    return CallEach(SERVICE_WATCH_MSR, Number(Input)), b""


def IoctlWatchPort(Input):
    return CallEach(SERVICE_WATCH_PORT, Number(Input)), b""


def IoctlTouch(Input):
    """RDTSCP is an invalid opcode in a guest that is not allowed it."""
    __rdtscp()
    __outbyte(COM1, ord("A"))
    return STATUS_SUCCESS, Quads(__readmsr(IA32_LSTAR))


def IoctlExits(Input):
    """Asked by a DPC on every processor; VMCALL only where a hypervisor is."""
    KeGenericCallDpc(CountDpc, NULL)
    return STATUS_SUCCESS, Quads(*(Counted[i] for i in range(hv.Count)))


def CountDpc(Dpc, Context, SystemArgument1, SystemArgument2) -> None:
    i = KeGetCurrentProcessorNumberEx(NULL)
    Counted[i] = __vmx_vmcall(SERVICE_EXITS) if hv.Vcpus[i].State == VIRTUALISED else 0
    KeSignalCallDpcSynchronize(SystemArgument2)
    KeSignalCallDpcDone(SystemArgument1)


def IoctlBadWrite(Input):
    try:
        __writemsr(IA32_LSTAR, 1 << 62)
    except StructuredException as Exception:
        return STATUS_SUCCESS, Quads(Exception.ExceptionCode)
    return STATUS_SUCCESS, Quads(STATUS_SUCCESS)


def IoctlSecond(Input):
    """Another hypervisor on this processor: VMXON, with interrupts off so that it stays there."""
    Region = alloc_vmx_region()
    if Region == NULL:
        return STATUS_INSUFFICIENT_RESOURCES, b""
    _disable()
    Status = __vmx_on(MmGetPhysicalAddress(Region)) if IsOn() else NOT_ON
    _enable()
    MmFreeContiguousMemory(Region)
    return STATUS_SUCCESS, Quads(Status)


def IsOn() -> bool:
    return bool(__readcr4() & CR4_VMXE)


ROUTINES = {
    HV_TRANSLATE: IoctlTranslate,
    HV_PHYSICAL: IoctlPhysical,
    HV_RUN_GUEST: IoctlRunGuest,
    HV_VIRTUALISE: IoctlVirtualise,
    HV_DEVIRTUALISE: IoctlDevirtualise,
    HV_WATCH_PAGE: IoctlWatchPage,
    HV_FORGET_PAGE: IoctlForgetPage,
    HV_HIDE_BREAKPOINT: IoctlHideBreakpoint,
    HV_WATCH_MSR: IoctlWatchMsr,
    HV_WATCH_PORT: IoctlWatchPort,
    HV_TOUCH: IoctlTouch,
    HV_EXITS: IoctlExits,
    HV_BAD_WRITE: IoctlBadWrite,
    HV_SECOND: IoctlSecond,
}
