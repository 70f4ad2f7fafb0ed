"""eh.py put right: the same guest, the app sees its OUT, lets it go on, and gets its HLT.

`diff driver/eh.py driver/eh_fixed.py`. What leaves the guest comes back on a restored stack, and
whatever is not on a stack has to be put right by hand, on every path:

* IRQL: run_vcpu and resume_vcpu lower what they raise, however the guest was left.
* Interrupts: RFLAGS is 2 after a VM exit (SDM 3, "Loading Host RIP, RSP and RFLAGS"); nothing but
  `_enable` turns them on again. Before the lowering, so that what waited is delivered in order.
* The processor: the VMCS stays current on the processor where it was loaded. The level keeps the
  thread there only as long as it is raised; so each EH_RUN first goes to the vcpu's processor, and
  gives the app its own affinity back before returning.
* What others did meanwhile: another VMCS may be current now, and another process may hold the
  handle. reload_vcpu makes ours current again, with the CR3 of this caller as the one to come back
  to.

Returning to user mode before VMXOFF is no fault: VMX root operation is a property of the processor,
and the rest of the system runs in it unchanged, if it has the limits of GDT and IDT back: a VM exit
loads them with 0xFFFF, and what protects Windows from patches stops with 0x109 when it sees that,
minutes later.
"""

from driver.eh_device import (
    complete,
    copy_code,
    eh_driver_ioctl_get_exit,
    eh_driver_load,
    log_debug,
    log_error,
    vcpu_of,
)
from driver.eh_ioctl import EH_GET_EXIT, EH_RUN
from driver.eh_vcpu import (
    PVCPU,
    VCPU_STATE_CLEAR,
    VCPU_STATE_LAUNCHED,
    VCPU_STATE_OFF_AND_DIRTY,
    enter_guest,
    load_vcpu,
    reload_vcpu,
    stop_vcpu,
)
from driver.vmx_guest import keep_tables, put_tables_back
from ntsim.intrin import *
from ntsim.wdm import *


def DriverEntry(driver_object: PDRIVER_OBJECT, registry_path: PUNICODE_STRING) -> NTSTATUS:
    return eh_driver_load(driver_object, eh_driver_ioctl_dispatcher)


def eh_driver_ioctl_dispatcher(device_object: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS:
    io_stack_location = IoGetCurrentIrpStackLocation(irp)
    code = io_stack_location.Parameters.DeviceIoControl.IoControlCode
    irp.IoStatus.Information = 0
    if code == EH_RUN:
        old_affinity = KeSetSystemAffinityThreadEx(1 << vcpu_of(irp).Processor)
        status = eh_driver_ioctl_eh_run(irp)
        KeRevertToUserAffinityThreadEx(old_affinity)
    elif code == EH_GET_EXIT:
        status = eh_driver_ioctl_get_exit(irp)
    else:
        status = STATUS_INVALID_DEVICE_REQUEST
    return complete(irp, status)


def eh_driver_ioctl_eh_run(irp: PIRP) -> NTSTATUS:
    """Start the vcpu of this handle, or let it go on; back when an exit is for the user."""
    vcpu = vcpu_of(irp)
    if vcpu.State == VCPU_STATE_CLEAR:
        return eh_driver_first_run(irp, vcpu)
    if vcpu.State == VCPU_STATE_LAUNCHED:
        if resume_vcpu(vcpu):
            log_error("the guest did not resume\n")
            return STATUS_UNSUCCESSFUL
        return STATUS_SUCCESS
    log_error("the vcpu is off and dirty: it cannot run again\n")
    return STATUS_UNSUCCESSFUL


def eh_driver_first_run(irp: PIRP, vcpu: PVCPU) -> NTSTATUS:
    io_stack_location = IoGetCurrentIrpStackLocation(irp)
    length = io_stack_location.Parameters.DeviceIoControl.InputBufferLength
    code = copy_code(vcpu, irp, length)
    if code == NULL:
        return STATUS_INVALID_PARAMETER if length == 0 else STATUS_INSUFFICIENT_RESOURCES
    log_debug("initial guest rip: %p\n", code)
    if run_vcpu(vcpu, code):
        log_error("the guest did not start\n")
        return STATUS_UNSUCCESSFUL
    irp.IoStatus.Information = length
    return STATUS_SUCCESS


def run_vcpu(vcpu: PVCPU, code: PVOID) -> int:
    """VMXON to VMLAUNCH, all at DISPATCH_LEVEL: on one processor. 0 if the guest ran."""
    vcpu.OldIrql = KeRaiseIrqlToDpcLevel()
    tables = keep_tables()
    failed = load_vcpu(vcpu, code) or enter_guest(vcpu, __vmx_vmlaunch)
    put_tables_back(tables)
    _enable()
    if failed or vcpu.State == VCPU_STATE_OFF_AND_DIRTY:
        stop_vcpu(vcpu)
    KeLowerIrql(vcpu.OldIrql)
    return failed


def resume_vcpu(vcpu: PVCPU) -> int:
    """VMRESUME, on the vcpu's processor, again at DISPATCH_LEVEL. 0 if the guest ran."""
    vcpu.OldIrql = KeRaiseIrqlToDpcLevel()
    tables = keep_tables()
    failed = reload_vcpu(vcpu) or enter_guest(vcpu, __vmx_vmresume)
    put_tables_back(tables)
    _enable()
    if failed or vcpu.State == VCPU_STATE_OFF_AND_DIRTY:
        stop_vcpu(vcpu)
    KeLowerIrql(vcpu.OldIrql)
    return failed
