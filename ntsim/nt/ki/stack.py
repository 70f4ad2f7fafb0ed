"""Where the frames of a stack lie: stack pointers and return addresses, written into its bytes.

Python frames have no stack pointer; each gets the size its code object would need, from the top of
the kernel stack (below the trap frame) and of the user stack downwards. The return addresses are
written when somebody may look: at a bug check.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from ntsim.abi.ke import KTRAP_FRAME
from ntsim.nt.ki.frames import StackFrame

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel


def lay_out(nt: Kernel, stack: list[StackFrame], thread: Thread) -> None:
    """Fill child_sp and return_address of every frame of `thread`, innermost first."""
    if not stack:
        return
    kernel = [frame for frame in stack if not frame.user]
    user = [frame for frame in stack if frame.user]
    top = thread.stack_base - (KTRAP_FRAME.size if thread.user is not None else 0)
    _place(kernel, top)
    if user:
        _place(user, thread.user_rsp + sum(frame.size for frame in user))
    for frame, caller in pairwise(stack):
        frame.return_address = caller.address
        if not frame.user and frame.child_sp > thread.stack_limit:
            nt.mmu.write(frame.child_sp + frame.size - 8, caller.address.to_bytes(8, "little"))


def _place(part: list[StackFrame], top: int) -> None:
    for frame in reversed(part):
        top -= frame.size
        frame.child_sp = top
