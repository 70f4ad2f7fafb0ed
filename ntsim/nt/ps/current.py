"""Who is running: the current process and thread, their ids. Source: WDK PsGetCurrentProcessId etc.

The current process is the one whose address space is in use: after KeStackAttachProcess another one
than the thread's own, whose id PsGetCurrentProcessId still gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import HANDLE
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.ps import PEPROCESS, PETHREAD
    from ntsim.nt.kernel import Kernel


@export(irql="<= DISPATCH", aliases=("PsGetCurrentProcess",))
def IoGetCurrentProcess(nt: Kernel) -> PEPROCESS:
    """The process whose address space is in use. Source: WDK IoGetCurrentProcess."""
    return nt.ps.current_process().e  # type: ignore[no-any-return]


@export(irql="<= DISPATCH", inline=True)
def PsGetCurrentThread(nt: Kernel) -> PETHREAD:
    """The running thread. Source: WDK PsGetCurrentThread."""
    return nt.thread.ethread  # type: ignore[no-any-return]


@export(irql="any")
def PsGetCurrentProcessId(nt: Kernel) -> HANDLE:
    """The id of the process the running thread was created in. Source: WDK."""
    return nt.thread.process.pid


@export(irql="<= DISPATCH")
def PsGetCurrentThreadId(nt: Kernel) -> HANDLE:
    """The id of the running thread. Source: WDK PsGetCurrentThreadId."""
    return nt.thread.tid
