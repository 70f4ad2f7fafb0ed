"""Kernel stacks: where their frames lie, and whether the stack pointer is on one.

Python frames have no stack pointer; each gets the size its code object would need, from the top of
the kernel stack (below the trap frame) and of the user stack downwards. The return addresses are
written when somebody may look: at a bug check.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from ntsim.abi.ke import KTRAP_FRAME
from ntsim.hw.cpu import Processor
from ntsim.hw.mmu import WRITE
from ntsim.nt.events import StackNotTheThreads
from ntsim.nt.ki.frames import StackFrame

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel

FAST_FAIL_INCORRECT_STACK = 4


def lay_out(nt: Kernel, stack: list[StackFrame], thread: Thread, processor: Processor) -> None:
    """Fill child_sp and return_address of every frame of `thread`, innermost first.

    A VM-exit handler's frames lie on the host stack that the VMCS names, not on the thread's.
    """
    if not stack:
        return
    drop_startup(stack)
    kernel = [frame for frame in stack if not frame.user]
    user = [frame for frame in stack if frame.user]
    top = thread.stack_base - (KTRAP_FRAME.size if thread.user is not None else 0)
    low = thread.stack_limit
    if is_host_stack(nt, processor):
        top, low = processor.rsp, 0
    _place(kernel, top)
    if user:
        _place(user, thread.user_rsp + sum(frame.size for frame in user))
    for frame, caller in pairwise(stack):
        if frame.return_address:
            continue
        frame.return_address = caller.address
        slot = frame.child_sp + frame.size - 8
        if not frame.user and frame.child_sp > low and nt.mmu.probe(slot, WRITE) is not None:
            nt.mmu.write(slot, caller.address.to_bytes(8, "little"))


def ki_check_stack(nt: Kernel, what: str) -> None:
    """0x139, parameter 1 = 4, if the stack pointer is on no stack of the current thread.

    Dispatching an exception asks for the stack's limits before it looks at a single frame, so a
    handler around the code that raises makes no difference: in a VM-exit handler whose HOST_RSP is
    memory of the driver's own, every exception ends here. KTHREAD says what the limits are.
    Source: a dump in cutecatsandvirtualmachines/SKLib issue 10 (KiDispatchException,
    RtlDispatchException, RtlpGetStackLimitsEx, KiRaiseSecurityCheckFailure), others of the same
    parameters in tandasat/HyperPlatform issues 4 and 92.
    """
    thread = nt.thread
    low, high = thread.v.StackLimit, thread.v.StackBase
    if not low <= thread.storage <= high:
        nt.emit_at(StackNotTheThreads, what, thread.storage, low, high)
        nt.fast_fail(FAST_FAIL_INCORRECT_STACK, f"{what} on a stack that is not the thread's")


def drop_startup(stack: list[StackFrame]) -> None:
    """Below a thread's user-mode frames nothing is left of how the kernel started it."""
    last_user = max((i for i, frame in enumerate(stack) if frame.user), default=None)
    if last_user is not None:
        del stack[last_user + 1 :]


def is_host_stack(nt: Kernel, processor: Processor) -> bool:
    """Whether a processor's host stack is that of a VM-exit handler."""
    return nt.greenlets.get(processor.greenlet, "").startswith("VM-exit")


def _place(part: list[StackFrame], top: int) -> None:
    for frame in reversed(part):
        if frame.compiled:
            top = frame.child_sp
            continue
        top -= frame.size
        frame.child_sp = top
