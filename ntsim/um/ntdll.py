"""ntdll: the system-service stubs, thread start and exit, user APCs.

A stub is a function with the service's parameters that makes the system call; its frame shows the
address behind SYSCALL in the stub's bytes. Service numbers are those of Windows 10 2004 (source:
j00ru/windows-syscalls, x64/json/nt-per-system.json).
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ntsim.nt.ex import events, mutants, semaphores
from ntsim.nt.io import cancel, completion_port, control, load, readwrite, volume
from ntsim.nt.io import services as files
from ntsim.nt.ki.syscall import system_call
from ntsim.nt.mm import services as memory
from ntsim.nt.ob import exports as objects
from ntsim.nt.ob import services as handles
from ntsim.nt.ps import information, user_apc
from ntsim.nt.ps import services as threads
from ntsim.nt.ps.user_apc import ki_take_user_apc
from ntsim.nt.se import services as tokens
from ntsim.um import layout

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread

    def __getattr__(name: str) -> Callable[..., int]:
        """The stubs."""


SERVICE_COUNT = 471
STATUS_USER_APC = 0xC0
CURRENT_PROCESS, CURRENT_THREAD = (1 << 64) - 1, (1 << 64) - 2

_NUMBERS: tuple[tuple[Any, dict[str, int]], ...] = (
    (
        control,
        {"NtDeviceIoControlFile": 0x07},
    ),
    (
        readwrite,
        {"NtReadFile": 0x06, "NtWriteFile": 0x08},
    ),
    (
        volume,
        {
            "NtFsControlFile": 0x39,
            "NtQueryVolumeInformationFile": 0x49,
            "NtSetVolumeInformationFile": 0x1B2,
        },
    ),
    (
        files,
        {
            "NtQueryInformationFile": 0x11,
            "NtSetInformationFile": 0x27,
            "NtOpenFile": 0x33,
            "NtFlushBuffersFile": 0x4B,
            "NtCreateFile": 0x55,
        },
    ),
    (
        completion_port,
        {
            "NtRemoveIoCompletion": 0x09,
            "NtCreateIoCompletion": 0xAC,
            "NtOpenIoCompletion": 0x11E,
            "NtQueryIoCompletion": 0x152,
            "NtRemoveIoCompletionEx": 0x170,
            "NtSetIoCompletion": 0x1A1,
        },
    ),
    (
        cancel,
        {"NtCancelIoFile": 0x5D, "NtCancelIoFileEx": 0x92},
    ),
    (
        load,
        {"NtLoadDriver": 0x105, "NtUnloadDriver": 0x1C6},
    ),
    (
        objects,
        {"NtClose": 0x0F},
    ),
    (
        handles,
        {
            "NtWaitForSingleObject": 0x04,
            "NtDuplicateObject": 0x3C,
            "NtWaitForMultipleObjects": 0x5B,
        },
    ),
    (
        events,
        {
            "NtSetEvent": 0x0E,
            "NtClearEvent": 0x3E,
            "NtOpenEvent": 0x40,
            "NtCreateEvent": 0x48,
            "NtPulseEvent": 0x13D,
            "NtResetEvent": 0x178,
        },
    ),
    (
        mutants,
        {"NtReleaseMutant": 0x20, "NtCreateMutant": 0xB3, "NtOpenMutant": 0x124},
    ),
    (
        semaphores,
        {"NtReleaseSemaphore": 0x0A, "NtCreateSemaphore": 0xBF, "NtOpenSemaphore": 0x12B},
    ),
    (
        memory,
        {
            "NtAllocateVirtualMemory": 0x18,
            "NtFreeVirtualMemory": 0x1E,
            "NtQueryVirtualMemory": 0x23,
            "NtWriteVirtualMemory": 0x3A,
            "NtReadVirtualMemory": 0x3F,
            "NtProtectVirtualMemory": 0x50,
        },
    ),
    (
        threads,
        {
            "NtOpenProcess": 0x26,
            "NtTerminateProcess": 0x2C,
            "NtDelayExecution": 0x34,
            "NtYieldExecution": 0x46,
            "NtResumeThread": 0x52,
            "NtTerminateThread": 0x53,
            "NtCreateThreadEx": 0xC1,
            "NtOpenThread": 0x12E,
        },
    ),
    (
        information,
        {
            "NtSetInformationThread": 0x0D,
            "NtQueryInformationProcess": 0x19,
            "NtSetInformationProcess": 0x1C,
            "NtQueryInformationThread": 0x25,
            "NtQuerySystemInformation": 0x36,
        },
    ),
    (
        tokens,
        {
            "NtQueryInformationToken": 0x21,
            "NtOpenThreadTokenEx": 0x2F,
            "NtOpenProcessTokenEx": 0x30,
            "NtAdjustPrivilegesToken": 0x41,
            "NtDuplicateToken": 0x42,
            "NtFilterToken": 0xE4,
            "NtOpenProcessToken": 0x128,
        },
    ),
    (
        user_apc,
        {"NtQueueApcThread": 0x45, "NtTestAlert": 0x1C0},
    ),
)
_ALERTABLE = (
    "NtDelayExecution", "NtRemoveIoCompletion", "NtRemoveIoCompletionEx", "NtTestAlert",
    "NtWaitForMultipleObjects", "NtWaitForSingleObject",
)  # fmt: skip
"""Services at whose end user APCs may run."""

_PLAIN_STUB = """
def {name}({parameters}):
    return system_call(getcurrent().machine, service, {rip}{arguments})
"""
_ALERTABLE_STUB = """
def {name}({parameters}):
    status = system_call(getcurrent().machine, service, {rip}{arguments})
    user = getcurrent().user
    if user.thread.v.ApcState_UserApcPendingAll:
        KiUserApcDispatcher(user)
    return status
"""


def KiUserApcDispatcher(user: UserThread) -> None:
    """Run the user APCs that a wait let in, first come first."""
    nt, process = user.nt, user.process
    while (apc := ki_take_user_apc(nt, user.thread)) is not None:
        process.calls.pop(apc[1])()


def make_stub(name: str, number: int, service: Callable[..., int]) -> Callable[..., int]:
    """The function of one system service."""
    code = unwrap(service).__code__
    parameters = ", ".join(code.co_varnames[1 : code.co_argcount])
    text = (_ALERTABLE_STUB if name in _ALERTABLE else _PLAIN_STUB).format(
        name=name,
        parameters=parameters,
        arguments=f", {parameters}" if parameters else "",
        rip=layout.SERVICE_STUBS + number * layout.STUB_SIZE + layout.SYSCALL_RETURN,
    )
    space: dict[str, Any] = {
        "__name__": __name__,
        "getcurrent": getcurrent,
        "system_call": system_call,
        "KiUserApcDispatcher": KiUserApcDispatcher,
        "service": service,
    }
    exec(compile(text, "", "exec"), space)
    made: Callable[..., int] = space[name]
    return made


SERVICES: dict[str, tuple[int, Callable[..., int]]] = {
    name: (number, make_stub(name, number, getattr(module, name)))
    for module, numbers in _NUMBERS
    for name, number in numbers.items()
}
"""By name: service number and stub."""

globals().update({name: stub for name, (_, stub) in SERVICES.items()})


def RtlUserThreadStart(StartRoutine: int, Argument: int) -> None:
    """The bottom of every user-mode stack; does not come back."""
    from ntsim.um import kernel32

    user: UserThread = getcurrent().user
    if user.thread.on_exit:
        SERVICES["NtTestAlert"][1]()
    kernel32.BaseThreadInitThunk(0, StartRoutine, Argument)


def RtlExitUserThread(ExitStatus: int) -> None:
    """The calling thread ends."""
    SERVICES["NtTerminateThread"][1](CURRENT_THREAD, ExitStatus)


def RtlExitUserProcess(ExitStatus: int) -> None:
    """The calling process ends: its other threads first, then this one."""
    terminate = SERVICES["NtTerminateProcess"][1]
    terminate(0, ExitStatus)
    terminate(CURRENT_PROCESS, ExitStatus)
