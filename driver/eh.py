"""A forum's hypervisor that ends in bug check 0x4A, IRQL_GT_ZERO_AT_SYSTEM_SERVICE.

The story (OSR NTDEV, "IRQ level fault, VT-x"): a driver runs a few bytes of code in a VT-x guest on
behalf of an app, as KVM does. CPUID is handled in the kernel; OUT gives control back to the app,
which looks at it and calls again; HLT ends the guest. The first EH_RUN stops the machine: a system
call was about to return to user mode at IRQL 2. The analysis blames ntdll!NtDeviceIoControlFile;
the driver is not on the stack.

Where is the IRQL raised? The post does not show it; this is what its evidence supports:

* It is 2, DISPATCH_LEVEL, and VM entries and exits do not touch CR8. So software raised it, as one
  does around work that belongs to one processor: between VMPTRLD and VMLAUNCH the thread must not
  move.
* It is 2 on the very first return, after no more than CPUID and OUT, and that surprises the author,
  who has read that lowering it by hand is bad. So nothing forgot to lower: a lowering exists, and
  this path does not come to it.
* The author asks whether one may return to user mode before VMXOFF, and so thinks of VMXON to
  VMXOFF as one stretch of work. The raise then stands before VMXON, the lowering beside VMXOFF, and
  the trip to user mode lies between them.

Look at run_vcpu: KeRaiseIrqlToDpcLevel at its top, KeLowerIrql only where the guest is over. OUT
comes back through pass_control_to_usermode, whose restored stack makes enter_guest return 0, and
run_vcpu returns at DISPATCH_LEVEL. Interrupts are off by then, too (RFLAGS is 2 after a VM exit and
the restored stack does not hold RFLAGS); 0x4A comes first. Take the raise away and there is no
0x4A, the rest of the system call still runs with interrupts off, and the thread may move away from
its VMCS.

`diff driver/eh.py driver/eh_fixed.py` is the cure.
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
    stop_vcpu,
)
from ntsim.intrin import *
from ntsim.wdm import *


def DriverEntry(driver_object: PDRIVER_OBJECT, registry_path: PUNICODE_STRING) -> NTSTATUS:
    return eh_driver_load(driver_object, eh_driver_ioctl_dispatcher)


def eh_driver_ioctl_dispatcher(device_object: PDEVICE_OBJECT, irp: PIRP) -> NTSTATUS:
    io_stack_location = IoGetCurrentIrpStackLocation(irp)
    code = io_stack_location.Parameters.DeviceIoControl.IoControlCode
    irp.IoStatus.Information = 0
    if code == EH_RUN:
        status = eh_driver_ioctl_eh_run(irp)
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
    failed = load_vcpu(vcpu, code) or enter_guest(vcpu, __vmx_vmlaunch)
    if failed or vcpu.State == VCPU_STATE_OFF_AND_DIRTY:
        stop_vcpu(vcpu)
        KeLowerIrql(vcpu.OldIrql)
    return failed


def resume_vcpu(vcpu: PVCPU) -> int:
    """VMRESUME; the level is still the one that run_vcpu raised to, or so its author thinks."""
    failed = enter_guest(vcpu, __vmx_vmresume)
    if failed or vcpu.State == VCPU_STATE_OFF_AND_DIRTY:
        stop_vcpu(vcpu)
        KeLowerIrql(vcpu.OldIrql)
    return failed
