"""Hard errors: message boxes of the system that ask what to do.

They go to the subsystem process, which shows them. This machine has none and nobody sits in front
of it: a box is answered as if hard errors were disabled, ResponseReturnToCaller. What does not get
as far as a box behaves as on Windows. Source: WDK IoRaiseHardError, IoSetThreadHardErrorMode,
IoRaiseInformationalHardError; winsiderss phnt ntexapi.h; ReactOS kmtests ExHardError.c,
ntoskrnl/ex/harderr.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.ps import ETHREAD
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.abi.scalars import BOOLEAN, NTSTATUS, PVOID, ULONG
from ntsim.nt.exports import Out, export
from ntsim.nt.io.call import IofCompleteRequest
from ntsim.nt.mm.variables import mi_variable
from ntsim.nt.rtl.text import read_unicode
from ntsim.nt.se.privilege import single_check
from ntsim.nt.se.well_known import luids

if TYPE_CHECKING:
    from ntsim.abi.io import PDEVICE_OBJECT, PIRP, PVPB
    from ntsim.abi.ps import PETHREAD
    from ntsim.abi.rtl import PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

DISABLED = 0x10
"""ETHREAD.CrossThreadFlags: HardErrorsAreDisabled."""
SHUTDOWN_SYSTEM, LAST_OPTION = 6, 8
"""HARDERROR_RESPONSE_OPTION: OptionShutdownSystem, OptionCancelTryContinue."""
RETURN_TO_CALLER, NOT_HANDLED = 0, 1
"""HARDERROR_RESPONSE."""
MAX_PARAMETERS, MAX_POPUPS = 4, 25
SERVICE_PARAMETERS = 3
SHUTDOWN = luids("Shutdown").bit_length() - 1


def ps_disabled(nt: Kernel, thread: int) -> bool:
    """Whether a thread wants no boxes."""
    return bool(ETHREAD.at(nt.mmu, thread)._v.CrossThreadFlags & DISABLED)


def ps_disable(nt: Kernel, thread: int, disabled: bool) -> None:
    v = ETHREAD.at(nt.mmu, thread)._v
    v.CrossThreadFlags = v.CrossThreadFlags & ~DISABLED | (DISABLED if disabled else 0)


@export(irql="<= DISPATCH")
def PsGetThreadHardErrorsAreDisabled(nt: Kernel, Thread: PETHREAD) -> BOOLEAN:
    """Whether a thread wants no boxes. Undocumented."""
    return ps_disabled(nt, int(Thread))


@export(irql="<= DISPATCH")
def PsSetThreadHardErrorsAreDisabled(
    nt: Kernel, Thread: PETHREAD, HardErrorsAreDisabled: BOOLEAN
) -> None:
    """Whether a thread shall get boxes. Undocumented."""
    ps_disable(nt, int(Thread), bool(HardErrorsAreDisabled))


@export(irql="<= DISPATCH")
def IoSetThreadHardErrorMode(nt: Kernel, EnableHardErrors: BOOLEAN) -> BOOLEAN:
    """Whether the current thread shall get boxes; the old answer. Source: WDK."""
    before = not ps_disabled(nt, nt.thread.va)
    ps_disable(nt, nt.thread.va, not EnableHardErrors)
    return before


def exp_raise(nt: Kernel, status: int, words: list[int], options: int) -> tuple[int, int]:
    """(status, response). OptionShutdownSystem with an error stops the machine.

    The stop code is the error itself, as dumps of NtRaiseHardError show: FATAL_UNHANDLED_HARD_ERROR
    is only what KeBugCheckEx is called with.
    """
    disabled = ps_disabled(nt, nt.thread.va)
    if options == SHUTDOWN_SYSTEM:
        if not single_check(nt, SHUTDOWN, nt.thread.v.PreviousMode):
            return ntstatus.STATUS_PRIVILEGE_NOT_HELD, NOT_HANDLED
        if not disabled and ntstatus.NT_ERROR(status):
            nt.bugcheck(status, *(words + [0] * MAX_PARAMETERS)[:MAX_PARAMETERS])
    if disabled:
        return ntstatus.STATUS_SUCCESS, RETURN_TO_CALLER
    service = status == ntstatus.STATUS_SERVICE_NOTIFICATION
    if options > LAST_OPTION or (service and len(words) < SERVICE_PARAMETERS):
        return ntstatus.STATUS_SUCCESS, NOT_HANDLED
    return ntstatus.STATUS_SUCCESS, RETURN_TO_CALLER


@export(irql="== PASSIVE")
def ExRaiseHardError(
    nt: Kernel,
    ErrorStatus: ULONG,
    NumberOfParameters: ULONG,
    UnicodeStringParameterMask: ULONG,
    Parameters: PVOID,
    ValidResponseOptions: ULONG,
    Response: Out[ULONG],
) -> NTSTATUS:
    """Ask what to do about an error; a parameter that the mask calls a string is read.

    STATUS_PRIVILEGE_NOT_HELD for OptionShutdownSystem without SeShutdownPrivilege; with it an error
    stops the machine. Undocumented.
    """
    at = int(Parameters)
    words = [nt.mmu.read_word(at + 8 * i) for i in range(NumberOfParameters)] if at else []
    for index, word in enumerate(words):
        if UnicodeStringParameterMask >> index & 1:
            nt.mmu.read(word, UNICODE_STRING.size)
            read_unicode(nt.mmu, UNICODE_STRING.at(nt.mmu, word))
    status, answer = exp_raise(nt, ErrorStatus, words, ValidResponseOptions)
    Response[0] = answer
    return status


@export(irql="<= APC")
def IoRaiseInformationalHardError(
    nt: Kernel, ErrorStatus: ULONG, String: PUNICODE_STRING, Thread: PVOID
) -> BOOLEAN:
    """Queue a box that only informs. FALSE if the thread (NULL: the current) wants none, for
    STATUS_SERVICE_NOTIFICATION, and when 25 wait to be read. Source: WDK; kmtests ExHardError.c.
    """
    if ps_disabled(nt, int(Thread) or nt.thread.va):
        return False
    if ErrorStatus == ntstatus.STATUS_SERVICE_NOTIFICATION:
        return False
    counter = mi_variable(nt, "IopHardErrorQueueLength")
    waiting = nt.mmu.read_word(counter)
    if waiting >= MAX_POPUPS:
        return False
    if String:
        read_unicode(nt.mmu, String)
    nt.mmu.write_word(counter, waiting + 1)
    return True


@export(irql="<= APC")
def IoRaiseHardError(
    nt: Kernel, Irp: PIRP, Vpb: PVPB, RealDeviceObject: PDEVICE_OBJECT
) -> None:
    """Ask whether a request that failed shall be tried again: nobody says so, and it is completed
    with the status it has. Source: WDK IoRaiseHardError.
    """
    IofCompleteRequest(nt, Irp, c.IO_DISK_INCREMENT)
