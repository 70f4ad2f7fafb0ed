"""AutoBoost: the kernel knows which thread wants which lock, to lend the owner its priority.

The priorities are not modelled; what is, is that a lock whose waiters wait may not be acquired at
DISPATCH_LEVEL. ERESOURCEs and push locks report here first; fast mutexes set APC_LEVEL before.
Source: WDK bug check 0x192; nefarius/BthPS3 issue 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import bugcodes
from ntsim.nt.ke.irql import APC_LEVEL

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel


def ke_ab_pre_acquire(nt: Kernel, lock: int) -> None:
    """Bug check 0x192 above APC_LEVEL: the owner may be the thread that was interrupted."""
    level = nt.il.current.cr8
    if level > APC_LEVEL:
        code = bugcodes.KERNEL_AUTO_BOOST_LOCK_ACQUISITION_WITH_RAISED_IRQL
        nt.bugcheck(code, nt.thread.va, lock, level)
