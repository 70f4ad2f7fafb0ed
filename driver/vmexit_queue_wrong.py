"""vmexit_queue.py without the queue: the exit handler answers on the spot, and the machine stops.

handle_vmcall calls what the worker should: PsLookupProcessByProcessId, documented for IRQL <=
APC_LEVEL, then it writes to paged pool. Interrupts are off in a VM exit, so a page fault cannot be
served. Expect 0xA, or 0xD1 if it is the driver's own instruction that faults, with 0xFF as the
IRQL: Windows' way to say "interrupts were off", while KeGetCurrentIrql would still give what CR8
has. (ionescu007/SimpleVisor issue 35 and DarthTon/HyperBone issue 36 are such crashes.)
"""

from driver.vmcs import EXIT_REASON_VMCALL
from driver.vmexit_queue import EXIT_HANDLERS, DriverEntry, answer_command
from driver.vmx_guest import skip_instruction
from ntsim.wdm import *

__all__ = ["DriverEntry"]


def handle_vmcall(regs) -> None:
    answer_command(regs.Rcx, regs.Rdx)
    regs.Rax = STATUS_SUCCESS
    skip_instruction()


EXIT_HANDLERS[EXIT_REASON_VMCALL] = handle_vmcall
