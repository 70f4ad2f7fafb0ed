"""Share access: who has a file open for what, as a file system keeps it in a SHARE_ACCESS.

Source: WDK IoCheckShareAccess, IoSetShareAccess, IoRemoveShareAccess, IoUpdateShareAccess; wdm.h
SHARE_ACCESS; ReactOS ntoskrnl/io/iomgr/file.c (an open that reads, writes or deletes nothing is not
counted).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import winnt_constants as w
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, NTSTATUS, ULONG
from ntsim.abi.share_access import SHARE_ACCESS
from ntsim.nt.exports import export

if TYPE_CHECKING:
    from ntsim.abi.io import PFILE_OBJECT
    from ntsim.abi.share_access import PSHARE_ACCESS
    from ntsim.nt.kernel import Kernel

READ = w.FILE_READ_DATA | w.FILE_EXECUTE
WRITE = w.FILE_WRITE_DATA | w.FILE_APPEND_DATA
KINDS = ("Readers", "Writers", "Deleters", "SharedRead", "SharedWrite", "SharedDelete")


def iop_mark(file: PFILE_OBJECT, access: int, share: int) -> bool:
    """Note in the file object what it is open for; whether that is anything."""
    v = file._v
    v.ReadAccess, v.WriteAccess = bool(access & READ), bool(access & WRITE)
    v.DeleteAccess = bool(access & w.DELETE)
    counts = bool(v.ReadAccess or v.WriteAccess or v.DeleteAccess)
    if counts:
        v.SharedRead = bool(share & w.FILE_SHARE_READ)
        v.SharedWrite = bool(share & w.FILE_SHARE_WRITE)
        v.SharedDelete = bool(share & w.FILE_SHARE_DELETE)
    return counts


def iop_flags(file: PFILE_OBJECT) -> tuple[int, ...]:
    v = file._v
    return (
        v.ReadAccess, v.WriteAccess, v.DeleteAccess, v.SharedRead, v.SharedWrite, v.SharedDelete,
    )  # fmt: skip


def iop_count(file: PFILE_OBJECT, share_access: Any, change: int) -> None:
    """Enter a file object's open (1) or take it out (-1)."""
    flags = iop_flags(file)
    if any(flags[:3]):
        v = share_access._v
        v.OpenCount += change
        for kind, flag in zip(KINDS, flags, strict=True):
            setattr(v, kind, getattr(v, kind) + (change if flag else 0))


def iop_conflicts(file: PFILE_OBJECT, share_access: PSHARE_ACCESS) -> bool:
    """Whether one side does what the other does not share."""
    v, flags = share_access._v, iop_flags(file)
    there = (v.Readers, v.Writers, v.Deleters)
    allowed = (v.SharedRead, v.SharedWrite, v.SharedDelete)
    refused = any(
        wants and count < v.OpenCount for wants, count in zip(flags[:3], allowed, strict=True)
    )
    return refused or any(
        count and not shares for count, shares in zip(there, flags[3:], strict=True)
    )


@export(irql="<= APC")
def IoCheckShareAccess(
    nt: Kernel,
    DesiredAccess: ACCESS_MASK,
    DesiredShareAccess: ULONG,
    FileObject: PFILE_OBJECT,
    ShareAccess: PSHARE_ACCESS,
    Update: BOOLEAN,
) -> NTSTATUS:
    """STATUS_SHARING_VIOLATION if the open does not go with the others; with Update it is entered.

    Source: WDK IoCheckShareAccess.
    """
    if not iop_mark(FileObject, DesiredAccess, DesiredShareAccess):
        return ntstatus.STATUS_SUCCESS
    if iop_conflicts(FileObject, ShareAccess):
        return ntstatus.STATUS_SHARING_VIOLATION
    if Update:
        iop_count(FileObject, ShareAccess, 1)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def IoSetShareAccess(
    nt: Kernel,
    DesiredAccess: ACCESS_MASK,
    DesiredShareAccess: ULONG,
    FileObject: PFILE_OBJECT,
    ShareAccess: PSHARE_ACCESS,
) -> None:
    """The first open of a file. Source: WDK IoSetShareAccess."""
    nt.mmu.write(int(ShareAccess), bytes(SHARE_ACCESS.size))
    if iop_mark(FileObject, DesiredAccess, DesiredShareAccess):
        iop_count(FileObject, ShareAccess, 1)


@export(irql="<= APC")
def IoUpdateShareAccess(nt: Kernel, FileObject: PFILE_OBJECT, ShareAccess: PSHARE_ACCESS) -> None:
    """Enter an open that IoCheckShareAccess allowed without Update. Source: WDK."""
    iop_count(FileObject, ShareAccess, 1)


@export(irql="== PASSIVE")
def IoRemoveShareAccess(nt: Kernel, FileObject: PFILE_OBJECT, ShareAccess: PSHARE_ACCESS) -> None:
    """The file object is closed. Source: WDK IoRemoveShareAccess."""
    iop_count(FileObject, ShareAccess, -1)
