"""Process and thread objects by id, with a reference. Source: WDK PsLookupProcessByProcessId.

The documentation gives STATUS_INVALID_PARAMETER for an id that nobody has; Windows gives
STATUS_INVALID_CID (for threads: Wine ntoskrnl tests test_lookup_thread; for processes: inferred).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.scalars import HANDLE, NTSTATUS
from ntsim.nt.exports import Out, export

if TYPE_CHECKING:
    from ntsim.abi.ps import PEPROCESS, PETHREAD
    from ntsim.nt.kernel import Kernel


@export(irql="<= APC")
def PsLookupProcessByProcessId(nt: Kernel, ProcessId: HANDLE, Process: Out[PEPROCESS]) -> NTSTATUS:
    """A referenced process, which may have ended while somebody still holds it. Source: WDK."""
    for process in nt.ps.by_address.values():
        if process.pid == ProcessId:
            nt.ob.reference(process.va)
            Process[0] = process.e
            return ntstatus.STATUS_SUCCESS
    return ntstatus.STATUS_INVALID_CID


@export(irql="<= APC")
def PsLookupThreadByThreadId(nt: Kernel, ThreadId: HANDLE, Thread: Out[PETHREAD]) -> NTSTATUS:
    """A referenced thread that is alive. Source: WDK PsLookupThreadByThreadId."""
    for thread in nt.ke.threads.values():
        if thread.tid == ThreadId and thread not in nt.ke.idle_threads:
            nt.ob.reference(thread.va)
            Thread[0] = thread.ethread
            return ntstatus.STATUS_SUCCESS
    return ntstatus.STATUS_INVALID_CID
