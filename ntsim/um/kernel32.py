"""KERNEL32: where an app's threads begin, and the outer layer of DeviceIoControl."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenlet import getcurrent

from ntsim.um import kernelbase, ntdll

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread


def BaseThreadInitThunk(Unused: int, StartRoutine: int, Argument: int) -> None:
    """Run the thread's routine; the first thread's end is the process's."""
    user: UserThread = getcurrent().user
    code = user.work()
    if user.ends_process:
        ntdll.RtlExitUserProcess(code)
    ntdll.RtlExitUserThread(code)


def DeviceIoControlImplementation(
    hDevice: int,
    dwIoControlCode: int,
    lpInBuffer: int,
    nInBufferSize: int,
    lpOutBuffer: int,
    nOutBufferSize: int,
    lpStatusBlock: int,
    lpOverlapped: int,
) -> int:
    """Forward to KERNELBASE; the NTSTATUS."""
    return kernelbase.DeviceIoControl(
        hDevice, dwIoControlCode, lpInBuffer, nInBufferSize, lpOutBuffer, nOutBufferSize,
        lpStatusBlock, lpOverlapped,
    )  # fmt: skip
