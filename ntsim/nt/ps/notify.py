"""Notify routines: who is told of processes, threads and images.

Up to 64 routines of each kind, called at PASSIVE_LEVEL in the order of their registration. A new
thread calls them itself before its first instruction (Windows tells of a process and its first
thread in the creator's context); a thread that ends does so on its way out, the last one also for
the process. Threads in which the kernel loads a driver are its own and nobody is told. Routines of
a driver that is gone stay registered: the next call is bug check 0xCE. Source: WDK
PsSetCreateProcessNotifyRoutineEx, PsSetCreateThreadNotifyRoutine, PsSetLoadImageNotifyRoutine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.ps import EPROCESS, IMAGE_INFO, PS_CREATE_NOTIFY_INFO
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PVOID, ULONG, ULONG_PTR
from ntsim.nt.exports import export
from ntsim.nt.mm.integrity import mm_verify_callback_function
from ntsim.nt.ob.objects import set_unicode
from ntsim.nt.ps.system_thread import psp_exit_thread

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.ps.process import Process

PS_CREATE_THREAD_NOTIFY_SUBSYSTEMS = 1
PS_IMAGE_NOTIFY_CONFLICTING_ARCHITECTURE = 1
MOST_ROUTINES = 64
SYSTEM_MODE_IMAGE = 1 << 8
ADDRESSING_32BIT = 3
"""IMAGE_INFO.Properties: the addressing mode (the same on x64), and an image of the kernel."""


class Notify:
    """The registered routines of one machine; a process routine with whether it is an Ex one."""

    def __init__(self) -> None:
        self.process: list[tuple[int, bool]] = []
        self.thread: list[int] = []
        self.not_of_system: list[int] = []
        self.image: list[int] = []
        self.announced: set[int] = set()

    @property
    def wanted(self) -> bool:
        """Whether anybody is to be told of anything."""
        return bool(self.process or self.thread or self.image)


def psp_is_own(thread: Thread) -> bool:
    """Whether it is a thread of the kernel's own, without a start routine."""
    return not thread.ethread._v.StartAddress


def psp_notified_start(nt: Kernel, thread: Thread, start: Callable[[], None]) -> Callable[[], None]:
    """What a new thread runs when somebody wants to be told of it."""

    def begin() -> None:
        psp_announce(nt, thread)
        start()

    return begin


def psp_announce(nt: Kernel, thread: Thread) -> None:
    """The current thread is new: tell of its process if it is the first there, then of itself."""
    process, was_in_kernel = thread.process, thread.in_kernel
    thread.in_kernel = True
    if process is not nt.ps.system and process.va not in nt.ps.notify.announced:
        nt.ps.notify.announced.add(process.va)
        psp_announce_process(nt, process)
    for routine in psp_thread_routines(nt, process):
        nt.call(routine, process.pid, thread.tid, 1)
    if process is not nt.ps.system and len(process.threads) == 1 and process.um is not None:
        image = process.um.image
        psp_announce_image(nt, image.file_name, image.base, image.size, process.pid, 0)
    thread.in_kernel = was_in_kernel


def psp_thread_routines(nt: Kernel, process: Process) -> list[int]:
    """Who is to be told of a thread of this process."""
    known, apart = nt.ps.notify.thread, nt.ps.notify.not_of_system
    if not apart or process is not nt.ps.system:
        return list(known)
    return [routine for routine in known if routine not in apart]


def psp_announce_process(nt: Kernel, process: Process) -> None:
    """Call the process routines; an Ex one may refuse the process, which then ends here."""
    parent = process.e._v.InheritedFromUniqueProcessId
    size = PS_CREATE_NOTIFY_INFO.size
    block = nt.allocate_pool(size + name_size(process.name), "PsNt")
    nt.mmu.write(block, bytes(size))
    info = PS_CREATE_NOTIFY_INFO.at(nt.mmu, block)
    name = write_name(nt, block + size, process.name)
    v = info._v
    v.Size, v.ParentProcessId, v.ImageFileName, v.CommandLine = size, parent, name, name
    for routine, extended in list(nt.ps.notify.process):
        if extended:
            nt.call(routine, EPROCESS.at(nt.mmu, process.va), process.pid, info)
        else:
            nt.call(routine, parent, process.pid, 1)
    status = v.CreationStatus & 0xFFFF_FFFF
    nt.free_pool(block)
    if not ntstatus.NT_SUCCESS(status):
        process.exit_code = status
        psp_exit_thread(nt, status)


def name_size(text: str) -> int:
    """Bytes that `write_name` needs."""
    return UNICODE_STRING.size + len(text.encode("utf-16-le")) + 2


def write_name(nt: Kernel, address: int, text: str) -> int:
    """A UNICODE_STRING with its characters behind it."""
    nt.mmu.write(address + UNICODE_STRING.size, text.encode("utf-16-le") + b"\0\0")
    string = UNICODE_STRING.at(nt.mmu, address)
    set_unicode(string, address + UNICODE_STRING.size, len(text.encode("utf-16-le")))
    return address


def psp_announce_image(
    nt: Kernel, name: str, base: int, size: int, pid: int, properties: int
) -> None:
    """Call the image routines: an image is mapped, and nothing of it has run yet."""
    if not nt.ps.notify.image:
        return
    block = nt.allocate_pool(IMAGE_INFO.size + name_size(name), "PsNt")
    nt.mmu.write(block, bytes(IMAGE_INFO.size))
    info = IMAGE_INFO.at(nt.mmu, block)
    v = info._v
    v.Properties, v.ImageBase, v.ImageSize = ADDRESSING_32BIT | properties, base, size
    text = UNICODE_STRING.at(nt.mmu, write_name(nt, block + IMAGE_INFO.size, name))
    for routine in list(nt.ps.notify.image):
        nt.call(routine, text, pid, info)
    nt.free_pool(block)


def psp_announce_exit(nt: Kernel, thread: Thread) -> None:
    """The current thread ends; the last one tells of its process too."""
    process, was_in_kernel = thread.process, thread.in_kernel
    thread.in_kernel = True
    for routine in psp_thread_routines(nt, process):
        nt.call(routine, process.pid, thread.tid, 0)
    if len(process.threads) == 1 and process is not nt.ps.system:
        nt.ps.notify.announced.discard(process.va)
        parent = process.e._v.InheritedFromUniqueProcessId
        for routine, extended in list(nt.ps.notify.process):
            if extended:
                nt.call(routine, EPROCESS.at(nt.mmu, process.va), process.pid, 0)
            else:
                nt.call(routine, parent, process.pid, 0)
    thread.in_kernel = was_in_kernel


def psp_set_process_routine(nt: Kernel, routine: int, extended: bool, remove: bool) -> int:
    """Register or remove; twice or one too many is STATUS_INVALID_PARAMETER, to remove what is not
    registered STATUS_PROCEDURE_NOT_FOUND. Source: WDK; kmtests PsNotify.c.
    """
    known, entry = nt.ps.notify.process, (routine, extended)
    if remove:
        if entry not in known:
            return ntstatus.STATUS_PROCEDURE_NOT_FOUND
        known.remove(entry)
        return ntstatus.STATUS_SUCCESS
    if entry in known or len(known) >= MOST_ROUTINES:
        return ntstatus.STATUS_INVALID_PARAMETER
    known.append(entry)
    return ntstatus.STATUS_SUCCESS


def psp_add(routines: list[int], routine: int) -> int:
    if len(routines) >= MOST_ROUTINES:
        return ntstatus.STATUS_INSUFFICIENT_RESOURCES
    routines.append(routine)
    return ntstatus.STATUS_SUCCESS


def psp_remove(routines: list[int], routine: int) -> int:
    if routine not in routines:
        return ntstatus.STATUS_PROCEDURE_NOT_FOUND
    routines.remove(routine)
    return ntstatus.STATUS_SUCCESS


@export(irql="== PASSIVE")
def PsSetCreateProcessNotifyRoutine(nt: Kernel, NotifyRoutine: PVOID, Remove: BOOLEAN) -> NTSTATUS:
    """Be told (ParentId, ProcessId, Create) of processes; or no more. Source: WDK."""
    return psp_set_process_routine(nt, NotifyRoutine, False, bool(Remove))


@export(irql="== PASSIVE")
def PsSetCreateProcessNotifyRoutineEx(
    nt: Kernel, NotifyRoutine: PVOID, Remove: BOOLEAN
) -> NTSTATUS:
    """Be told (Process, ProcessId, CreateInfo) of processes, CreateInfo NULL at the end of one.

    A routine refuses a process by an error in CreateInfo->CreationStatus. STATUS_ACCESS_DENIED for
    a driver that was not linked with /INTEGRITYCHECK. Source: WDK
    PsSetCreateProcessNotifyRoutineEx.
    """
    name = "PsSetCreateProcessNotifyRoutineEx"
    if not Remove and not mm_verify_callback_function(nt, NotifyRoutine, name):
        return ntstatus.STATUS_ACCESS_DENIED
    return psp_set_process_routine(nt, NotifyRoutine, True, bool(Remove))


@export(irql="== PASSIVE")
def PsSetCreateProcessNotifyRoutineEx2(
    nt: Kernel, NotifyType: ULONG, NotifyInformation: PVOID, Remove: BOOLEAN
) -> NTSTATUS:
    """As PsSetCreateProcessNotifyRoutineEx: the one NotifyType, PsCreateProcessNotifySubsystems
    (0), adds processes of further subsystems, of which there are none here. Source: WDK.
    """
    if NotifyType & 0xFFFF_FFFF:
        return ntstatus.STATUS_INVALID_PARAMETER
    name = "PsSetCreateProcessNotifyRoutineEx2"
    if not Remove and not mm_verify_callback_function(nt, NotifyInformation, name):
        return ntstatus.STATUS_ACCESS_DENIED
    return psp_set_process_routine(nt, NotifyInformation, True, bool(Remove))


@export(irql="== PASSIVE")
def PsSetCreateThreadNotifyRoutineEx(
    nt: Kernel, NotifyType: ULONG, NotifyInformation: PVOID
) -> NTSTATUS:
    """Be told of threads: PsCreateThreadNotifyNonSystem (0) as the new thread runs, those of the
    System process left out; PsCreateThreadNotifySubsystems (1) as
    PsSetCreateThreadNotifyRoutine. Source: WDK.
    """
    if NotifyType & 0xFFFF_FFFF > PS_CREATE_THREAD_NOTIFY_SUBSYSTEMS:
        return ntstatus.STATUS_INVALID_PARAMETER
    status = psp_add(nt.ps.notify.thread, NotifyInformation)
    if not NotifyType and ntstatus.NT_SUCCESS(status):
        nt.ps.notify.not_of_system.append(NotifyInformation)
    return status


@export(irql="== PASSIVE")
def PsSetLoadImageNotifyRoutineEx(nt: Kernel, NotifyRoutine: PVOID, Flags: ULONG_PTR) -> NTSTATUS:
    """As PsSetLoadImageNotifyRoutine; PS_IMAGE_NOTIFY_CONFLICTING_ARCHITECTURE (1), for images of
    other processors, adds none here. Source: WDK.
    """
    if Flags & ~PS_IMAGE_NOTIFY_CONFLICTING_ARCHITECTURE:
        return ntstatus.STATUS_INVALID_PARAMETER
    return psp_add(nt.ps.notify.image, NotifyRoutine)


@export(irql="== PASSIVE")
def PsSetCreateThreadNotifyRoutine(nt: Kernel, NotifyRoutine: PVOID) -> NTSTATUS:
    """Be told (ProcessId, ThreadId, Create) of threads. Source: WDK."""
    return psp_add(nt.ps.notify.thread, NotifyRoutine)


@export(irql="<= APC")
def PsRemoveCreateThreadNotifyRoutine(nt: Kernel, NotifyRoutine: PVOID) -> NTSTATUS:
    """No more; STATUS_PROCEDURE_NOT_FOUND if it was not registered. Source: WDK."""
    if NotifyRoutine in nt.ps.notify.not_of_system:
        nt.ps.notify.not_of_system.remove(NotifyRoutine)
    return psp_remove(nt.ps.notify.thread, NotifyRoutine)


@export(irql="== PASSIVE")
def PsSetLoadImageNotifyRoutine(nt: Kernel, NotifyRoutine: PVOID) -> NTSTATUS:
    """Be told (FullImageName, ProcessId, ImageInfo) of images; drivers have id 0. Source: WDK."""
    return psp_add(nt.ps.notify.image, NotifyRoutine)


@export(irql="== PASSIVE")
def PsRemoveLoadImageNotifyRoutine(nt: Kernel, NotifyRoutine: PVOID) -> NTSTATUS:
    """No more; STATUS_PROCEDURE_NOT_FOUND if it was not registered. Source: WDK."""
    return psp_remove(nt.ps.notify.image, NotifyRoutine)
