"""The lock of a file opened for synchronous I/O: its requests go one after the other.

`Busy` says that a request is under way, `Waiters` how many threads wait for its end on `Lock`, a
synchronization event. Whoever asks while another thread is inside waits, the closing of the last
handle included. A request that fast I/O answers never takes the lock. Source: Windows Internals 7,
part 1, chapter 6, "Synchronous and asynchronous I/O"; ReactOS IopLockFileObject and its users;
layout of FILE_OBJECT from the 19041 symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.nt.ke.objects import KeSetEvent
from ntsim.nt.ke.wait import WAIT_ANY, ki_wait

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

EXECUTIVE = 0


def iop_acquire_file_lock(nt: Kernel, file: Any, mode: int, alertable: bool) -> int:
    """STATUS_SUCCESS with the lock held; else why the wait ended early, the lock not held."""
    v = file._v
    if not v.Busy:
        v.Busy = 1
        return ntstatus.STATUS_SUCCESS
    v.Waiters += 1
    address = int(file.Lock)
    status = ntstatus.STATUS_SUCCESS
    while v.Busy and status == ntstatus.STATUS_SUCCESS:
        status = ki_wait(nt, [address], WAIT_ANY, EXECUTIVE, mode, alertable, None)
    v.Waiters -= 1
    if status == ntstatus.STATUS_SUCCESS:
        v.Busy = 1
    elif not v.Busy and v.Waiters:
        # The event may have been meant for the thread that gives up.
        KeSetEvent(nt, file.Lock, 0, False)
    return status


def iop_release_file_lock(nt: Kernel, file: Any) -> None:
    """The request is over; the next thread may go."""
    v = file._v
    v.Busy = 0
    if v.Waiters:
        KeSetEvent(nt, file.Lock, 0, False)


def iop_enter_file(nt: Kernel, file: Any) -> int:
    """Before a request is built: the lock of a synchronous file, nothing of an asynchronous one."""
    v = file._v
    flags = v.Flags
    if not flags & c.FO_SYNCHRONOUS_IO:
        return ntstatus.STATUS_SUCCESS
    if not v.Busy:
        v.Busy = 1
        return ntstatus.STATUS_SUCCESS
    alertable = bool(flags & c.FO_ALERTABLE_IO)
    mode = nt.il.current.context.v.PreviousMode
    return iop_acquire_file_lock(nt, file, mode, alertable)


def iop_leave_file(nt: Kernel, file: Any) -> None:
    """After a request of `iop_enter_file`."""
    if file._v.Flags & c.FO_SYNCHRONOUS_IO:
        iop_release_file_lock(nt, file)
