"""ntdll: the system-service stubs, thread start and exit, user APCs.

A stub is a function with the service's parameters that makes the system call; its frame shows the
address behind SYSCALL in the stub's bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from ntsim.abi.services import service_numbers
from ntsim.nt.ki.services import SYSTEM_SERVICES
from ntsim.nt.ki.syscall import ki_system_call, system_call
from ntsim.nt.ps.user_apc import ki_take_user_apc
from ntsim.um import layout
from ntsim.um.current import current_user

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread

    def __getattr__(name: str) -> Callable[..., int]:
        """The stubs."""


SERVICE_COUNT = 471
STATUS_USER_APC = 0xC0
CURRENT_PROCESS, CURRENT_THREAD = (1 << 64) - 1, (1 << 64) - 2

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
    name: (service_numbers()[name], make_stub(name, service_numbers()[name], service))
    for name, service in SYSTEM_SERVICES.items()
}
"""By name: service number and stub."""

globals().update({name: stub for name, (_, stub) in SERVICES.items()})


def syscall(number: int, *arguments: int) -> int:
    """The system call with this number in EAX: its status (an NTSTATUS, nothing is raised).

    Arguments are numbers: handles, sizes, addresses of the app's memory. What executes SYSCALL is
    a stub of ntdll, as in code that makes system calls by itself.
    """
    user = current_user("syscall")
    stub = number if 0 <= number < SERVICE_COUNT else 0
    rip = layout.SERVICE_STUBS + stub * layout.STUB_SIZE + layout.SYSCALL_RETURN
    status = ki_system_call(user.nt, number & 0xFFFF_FFFF, rip, arguments)
    if user.thread.v.ApcState_UserApcPendingAll:
        KiUserApcDispatcher(user)
    return status


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
