"""I/O completion ports: packets of finished requests, and of apps, for a pool of threads.

The object type is IoCompletion, its body a KQUEUE. FILE_OBJECT.CompletionContext ties a file to a
port and a key; from then on each request that its caller gave an APC context ends as a packet: the
IRP itself lies in the queue until somebody removes it. What an app posts is a mini packet. The
last handle's closing ends every wait with STATUS_ABANDONED.

Source: Windows Internals 7, part 1, chapter 6, "I/O completion ports"; Win32
CreateIoCompletionPort, GetQueuedCompletionStatusEx, SetFileCompletionNotificationModes; ReactOS
ntoskrnl/io/iomgr/iocomp.c; layout of the mini packet from the 19041 symbols.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi import win32_constants as w
from ntsim.abi.io import IO_COMPLETION_CONTEXT, IRP
from ntsim.abi.ke import KQUEUE
from ntsim.abi.scalars import ACCESS_MASK, BOOLEAN, HANDLE, NTSTATUS, PVOID, ULONG, ULONG_PTR
from ntsim.nt.ex.arguments import (
    read_attributes,
    read_number,
    read_timeout,
    system_service,
    write_number,
    write_result,
)
from ntsim.nt.ex.named import exp_create, exp_drop_name, exp_open, exp_reference
from ntsim.nt.io.irp import io_free_irp
from ntsim.nt.ke.queue import (
    KeInitializeQueue,
    KeReadStateQueue,
    KeRundownQueue,
    ki_insert_queue,
    ki_remove_queue,
)
from ntsim.nt.ob.objects import ObjectType
from ntsim.nt.rtl import lists

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

ALL_ACCESS, MODIFY_STATE, QUERY_STATE = 0x1F_0003, 2, 1
GENERIC = (0x2_0001, 0x2_0002, 0x12_0000, ALL_ACCESS)
IRP_PACKET, MINI_PACKET = 0, 1
_PACKET_TYPE = 0x10
_MINI = struct.Struct("<QQIIQQiIQ")
"""ListEntry, PacketType, KeyContext, ApcContext, IoStatus, IoStatusInformation."""

MINI_SIZE = 0x50
_ENTRY_IN_IRP = IRP.offset_of("Tail.Overlay.ListEntry")
_INFORMATION_SIZE = 0x20
"""FILE_IO_COMPLETION_INFORMATION: key, APC context, I/O status block."""

COMPLETION_INFORMATION, NOTIFICATION_INFORMATION = 30, 41
_NOTIFICATION_FLAGS = {
    w.FILE_SKIP_COMPLETION_PORT_ON_SUCCESS: c.FO_SKIP_COMPLETION_PORT,
    w.FILE_SKIP_SET_EVENT_ON_HANDLE: c.FO_SKIP_SET_EVENT,
}
KERNEL_ADDRESS = 1 << 47


def iop_create_completion_type(nt: Kernel) -> None:
    """Register the object type IoCompletion."""
    nt.ob.add_type(
        ObjectType(
            "IoCompletion",
            GENERIC,
            ALL_ACCESS,
            close=iop_close_completion,
            delete=iop_delete_completion,
            waitable_offset=0,
        )
    )


def iop_close_completion(nt: Kernel, body: int, process: Any, last: bool) -> None:
    """The last handle is closed: nobody can ask for the packets any more."""
    exp_drop_name(nt, body, process, last)
    if last:
        iop_delete_completion(nt, body)


def iop_delete_completion(nt: Kernel, body: int) -> None:
    """End all waits and free what is queued."""
    first = int(KeRundownQueue(nt, KQUEUE.at(nt.mmu, body)))
    if not first:
        return
    packets = [first, *lists.entries(nt.mmu, first)]
    for packet in packets:
        iop_unpack(nt, packet)


def iop_unpack(nt: Kernel, packet: int) -> tuple[int, int, int, int]:
    """Key, APC context, status and Information of a packet, which is freed."""
    if int.from_bytes(nt.mmu.read(packet + _PACKET_TYPE, 4), "little") == IRP_PACKET:
        irp = IRP.at(nt.mmu, packet - _ENTRY_IN_IRP)
        v = irp._v
        context = v.Overlay_AsynchronousParameters_UserApcContext
        found = v.Tail_CompletionKey, context, v.IoStatus_Status, v.IoStatus_Information
        io_free_irp(nt, irp)
        return found
    _, _, _, _, key, context, status, _, information = _MINI.unpack(
        nt.mmu.read(packet, _MINI.size)
    )
    nt.free_pool(packet)
    return key, context, status & 0xFFFF_FFFF, information




def iop_queue_completion(nt: Kernel, irp: Any, file: Any) -> bool:
    """Queue a finished IRP to its file's port; False if nobody is to hear of it that way."""
    context = file.CompletionContext if file else None
    v = irp._v
    if not context or not v.Overlay_AsynchronousParameters_UserApcContext:
        return False
    if file._v.Flags & c.FO_SKIP_COMPLETION_PORT and not v.PendingReturned:
        return False
    port = KQUEUE.at(nt.mmu, context._v.Port)
    v.Tail_CompletionKey, v.Tail_Overlay_PacketType = context._v.Key, IRP_PACKET
    ki_insert_queue(nt, port, int(irp) + _ENTRY_IN_IRP, at_head=False)
    return True


def iop_leave_port(nt: Kernel, file: Any) -> None:
    """A file goes: its context, and its reference to the port."""
    context = file.CompletionContext
    if context:
        port = context._v.Port
        nt.free_pool(int(context))
        file._v.CompletionContext = 0
        nt.ob.dereference(port)


@system_service
def iop_set_completion(nt: Kernel, file: Any, information: int, length: int, kind: int) -> int:
    """FileCompletionInformation (a port and a key) and FileIoCompletionNotificationInformation."""
    size = 16 if kind == COMPLETION_INFORMATION else 4
    if length < size:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    v = file._v
    if kind == NOTIFICATION_INFORMATION:
        flags = read_number(nt, information, 4)
        for bit, flag in _NOTIFICATION_FLAGS.items():
            v.Flags |= flag if flags & bit else 0
        return ntstatus.STATUS_SUCCESS
    if v.Flags & c.FO_SYNCHRONOUS_IO or v.CompletionContext:
        return ntstatus.STATUS_INVALID_PARAMETER
    handle, key = read_number(nt, information), read_number(nt, information + 8)
    status, port = exp_reference(nt, handle, MODIFY_STATE, "IoCompletion")
    if status:
        return status
    block = nt.allocate_pool(IO_COMPLETION_CONTEXT.size, "IoCc")
    if not block:
        nt.ob.dereference(port)
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    made = IO_COMPLETION_CONTEXT.at(nt.mmu, block)._v
    made.Port, made.Key = port, key
    v.CompletionContext = block
    return ntstatus.STATUS_SUCCESS


@system_service
def NtCreateIoCompletion(
    nt: Kernel,
    IoCompletionHandle: PVOID,
    DesiredAccess: ACCESS_MASK,
    ObjectAttributes: PVOID,
    Count: ULONG,
) -> NTSTATUS:
    """A port for which Count threads may run at once; 0: one a processor."""

    def initialize(body: int) -> None:
        nt.mmu.write(body, bytes(KQUEUE.size))
        KeInitializeQueue(nt, KQUEUE.at(nt.mmu, body), Count)

    attributes = read_attributes(nt, ObjectAttributes)
    kind = nt.ob.types["IoCompletion"]
    status, handle = exp_create(nt, kind, KQUEUE.size, attributes, DesiredAccess, initialize)
    if handle:
        write_number(nt, IoCompletionHandle, handle)
    return status


@system_service
def NtOpenIoCompletion(
    nt: Kernel, IoCompletionHandle: PVOID, DesiredAccess: ACCESS_MASK, ObjectAttributes: PVOID
) -> NTSTATUS:
    """A handle to a named port."""
    attributes = read_attributes(nt, ObjectAttributes)
    status, handle = exp_open(nt, nt.ob.types["IoCompletion"], attributes, DesiredAccess)
    if handle:
        write_number(nt, IoCompletionHandle, handle)
    return status


@system_service
def NtSetIoCompletion(
    nt: Kernel,
    IoCompletionHandle: HANDLE,
    KeyContext: ULONG_PTR,
    ApcContext: PVOID,
    IoStatus: NTSTATUS,
    IoStatusInformation: ULONG_PTR,
) -> NTSTATUS:
    """Queue a packet of the caller's own."""
    status, body = exp_reference(nt, IoCompletionHandle, MODIFY_STATE, "IoCompletion")
    if status:
        return status
    packet = nt.allocate_pool(MINI_SIZE, "Icp ")
    if packet:
        signed = (IoStatus & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)
        fields = 0, 0, MINI_PACKET, 0, KeyContext, ApcContext, signed, 0, IoStatusInformation
        nt.mmu.write(packet, _MINI.pack(*fields).ljust(MINI_SIZE, b"\0"))
        ki_insert_queue(nt, KQUEUE.at(nt.mmu, body), packet, at_head=False)
    nt.ob.dereference(body)
    return ntstatus.STATUS_SUCCESS if packet else ntstatus.STATUS_INSUFFICIENT_RESOURCES


@system_service
def NtRemoveIoCompletion(
    nt: Kernel,
    IoCompletionHandle: HANDLE,
    KeyContext: PVOID,
    ApcContext: PVOID,
    IoStatusBlock: PVOID,
    Timeout: PVOID,
) -> NTSTATUS:
    """The next packet; STATUS_TIMEOUT, STATUS_ABANDONED when the last handle was closed."""
    status, packets = iop_remove(nt, IoCompletionHandle, 1, Timeout, False)
    for key, context, result, information in packets:
        write_number(nt, KeyContext, key)
        write_number(nt, ApcContext, context)
        write_result(nt, IoStatusBlock, struct.pack("<QQ", result, information))
    return status


@system_service
def NtRemoveIoCompletionEx(
    nt: Kernel,
    IoCompletionHandle: HANDLE,
    IoCompletionInformation: PVOID,
    Count: ULONG,
    NumEntriesRemoved: PVOID,
    Timeout: PVOID,
    Alertable: BOOLEAN,
) -> NTSTATUS:
    """Up to Count packets at once, as FILE_IO_COMPLETION_INFORMATION structures."""
    if not Count:
        return ntstatus.STATUS_INVALID_PARAMETER
    status, packets = iop_remove(nt, IoCompletionHandle, Count, Timeout, bool(Alertable))
    for index, packet in enumerate(packets):
        place = IoCompletionInformation + _INFORMATION_SIZE * index
        key, context, result, information = packet
        write_result(nt, place, struct.pack("<QQQQ", key, context, result, information))
    write_number(nt, NumEntriesRemoved, len(packets), 4)
    return status


def iop_remove(
    nt: Kernel, handle: int, count: int, timeout: int, alertable: bool
) -> tuple[int, list[tuple[int, int, int, int]]]:
    """(status, packets) of a port."""
    status, body = exp_reference(nt, handle, MODIFY_STATE, "IoCompletion")
    if status:
        return status, []
    mode, interval = nt.thread.v.PreviousMode, read_timeout(nt, timeout)
    found = ki_remove_queue(nt, KQUEUE.at(nt.mmu, body), mode, alertable, interval, count)
    nt.ob.dereference(body)
    if found[0] < KERNEL_ADDRESS:
        return found[0], []
    return ntstatus.STATUS_SUCCESS, [iop_unpack(nt, packet) for packet in found]


@system_service
def NtQueryIoCompletion(
    nt: Kernel,
    IoCompletionHandle: HANDLE,
    InformationClass: ULONG,
    Information: PVOID,
    Length: ULONG,
    ReturnLength: PVOID,
) -> NTSTATUS:
    """IoCompletionBasicInformation (0): how many packets are queued."""
    if InformationClass:
        return ntstatus.STATUS_INVALID_INFO_CLASS
    if Length != 4:
        return ntstatus.STATUS_INFO_LENGTH_MISMATCH
    status, body = exp_reference(nt, IoCompletionHandle, QUERY_STATE, "IoCompletion")
    if status:
        return status
    depth = KeReadStateQueue(nt, KQUEUE.at(nt.mmu, body))
    nt.ob.dereference(body)
    write_number(nt, Information, depth, 4)
    write_number(nt, ReturnLength, 4, 4)
    return status
