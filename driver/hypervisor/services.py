"""VMCALL: what the guest may ask of its hypervisor. RCX is the number, RDX and R8 the arguments.

RAX is the answer, an NTSTATUS. The kernel asks, on behalf of the app: VMCALL from user mode is
refused, or any app could switch the hypervisor off.
"""

from driver.hypervisor.bitmaps import READ_HALF, WRITE_HALF, WatchMsr, WatchPort
from driver.hypervisor.fields import EXCEPTION_BITMAP, VECTOR_BP
from driver.hypervisor.hooks import MOST_HOOKS, ArmHook, DisarmHook, Hooks
from driver.hypervisor.vcpu import CurrentVcpu
from ntsim.intrin import *
from ntsim.wdm import *

SERVICE_OFF = 0x4846_0000
SERVICE_ARM_HOOK = 0x4846_0001  # RDX: number of the hook (hooks.py)
SERVICE_DISARM_HOOK = 0x4846_0002
SERVICE_WATCH_MSR = 0x4846_0003  # RDX: register
SERVICE_WATCH_PORT = 0x4846_0004  # RDX: port
SERVICE_EXITS = 0x4846_0005  # how many exits this processor has had


def Serve(Number, Argument) -> NTSTATUS:
    """Executed in the exit handler: bits in memory that is there, nothing else."""
    Vcpu = CurrentVcpu()
    if Number in (SERVICE_ARM_HOOK, SERVICE_DISARM_HOOK) and Argument >= MOST_HOOKS:
        return STATUS_INVALID_PARAMETER
    if Number == SERVICE_ARM_HOOK:
        if Hooks[Argument].Copy:  # with a breakpoint in it (hidden.py)
            __vmx_vmwrite(EXCEPTION_BITMAP, 1 << VECTOR_BP)
        Done = ArmHook(Vcpu, Argument)
    elif Number == SERVICE_DISARM_HOOK:
        Done = DisarmHook(Vcpu, Argument)
    elif Number == SERVICE_WATCH_MSR:
        Done = WatchMsr(Vcpu.Bitmaps, Argument, READ_HALF)
        Done = WatchMsr(Vcpu.Bitmaps, Argument, WRITE_HALF) and Done
    elif Number == SERVICE_WATCH_PORT:
        Done = WatchPort(Vcpu.Bitmaps, Argument)
    elif Number == SERVICE_EXITS:
        return Vcpu.Exits
    else:
        return STATUS_INVALID_PARAMETER
    return STATUS_SUCCESS if Done else STATUS_INSUFFICIENT_RESOURCES
