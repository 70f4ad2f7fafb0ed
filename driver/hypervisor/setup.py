"""A VMCS from the processor's present state: the guest is what runs here anyway.

Segments come from the selectors and the GDT (driver/vmcs_setup.py reads the descriptors), control
registers and MSRs from themselves. Only four things are new: where the guest goes on, where exits
go, and the address space of the host, which is the System process's: the one that happens to be
current may be gone when the next exit comes.
"""

from driver.hypervisor.bitmaps import IO_PAGES, MSR_PAGE
from driver.hypervisor.ept import Eptp
from driver.hypervisor.fields import *
from driver.hypervisor.vcpu import hv
from driver.vmcs_setup import (
    HOST_STACK_SIZE,
    adjust_controls,
    control_fields,
    guest_fields,
    host_fields,
    segment_fields,
    write_fields,
)
from driver.vmx_guest import physical, vmread
from ntsim.intrin import *
from ntsim.wdm import *


class PLACES(Structure):
    """What driver/vmcs_setup.py asks a guest for."""

    HostStack: PVOID
    GuestStack: PVOID


def SetUpVmcs(Vcpu, ExitHandler) -> int:
    """Fill the current VMCS; 0, or the status of the VMWRITE that failed."""
    Places = PLACES()
    Places.HostStack = Vcpu.HostStack
    Places.GuestStack = Vcpu.HostStack
    return (
        write_fields(control_fields())
        or write_fields(host_fields(Places, ExitHandler))
        or write_fields(guest_fields(Places, restore_stack))
        or write_fields(segment_fields())
        or write_fields(SystemFields(Vcpu))
    )


def SystemFields(Vcpu):
    """What makes the guest the running system."""
    return [
        (GUEST_RIP, restore_stack),
        (GUEST_RSP, Vcpu.SavedStack.Rsp),
        (GUEST_RFLAGS, __readeflags()),
        (HOST_CR3, hv.SystemCr3),
        (EXCEPTION_BITMAP, 0),  # the kernel handles its exceptions itself
        *SystemControls(Vcpu),
    ]


def SystemControls(Vcpu):
    """HLT and most ports are the guest's own; MSRs and ports by bitmap; EPT."""
    Primary = vmread(CPU_BASED_VM_EXEC_CONTROL)
    Primary &= ~(CPU_BASED_HLT_EXITING | CPU_BASED_UNCOND_IO_EXITING)
    Primary |= CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_USE_IO_BITMAPS
    Primary |= CPU_BASED_ACTIVATE_SECONDARY_CONTROLS
    Secondary = SECONDARY_ENABLE_EPT | SECONDARY_ENABLE_RDTSCP | SECONDARY_ENABLE_INVPCID
    return [
        (CPU_BASED_VM_EXEC_CONTROL, Primary),
        (SECONDARY_VM_EXEC_CONTROL, adjust_controls(Secondary, MSR_IA32_VMX_PROCBASED_CTLS2)),
        (MSR_BITMAP, physical(Vcpu.Bitmaps) + MSR_PAGE),
        (IO_BITMAP_A, physical(Vcpu.Bitmaps) + IO_PAGES),
        (IO_BITMAP_B, physical(Vcpu.Bitmaps) + IO_PAGES + PAGE_SIZE),
        (EPT_POINTER, Eptp(Vcpu.Ept)),
    ]


__all__ = ["HOST_STACK_SIZE", "SetUpVmcs", "SystemControls", "SystemFields"]
