"""The system services that apps may call: what lies at nt!NtXxx.

Each takes the kernel and the service's arguments as numbers, addresses of the caller's memory among
them, and works for the previous mode of the thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ntsim.nt.ex import events, mutants, semaphores
from ntsim.nt.io import cancel, completion_port, control, load, readwrite, volume
from ntsim.nt.io import services as files
from ntsim.nt.mm import services as memory
from ntsim.nt.ob import exports as objects
from ntsim.nt.ob import services as handles
from ntsim.nt.ps import information, user_apc
from ntsim.nt.ps import services as threads
from ntsim.nt.se import services as tokens

_NAMES: tuple[tuple[Any, str], ...] = (
    (control, "NtDeviceIoControlFile"),
    (readwrite, "NtReadFile NtWriteFile"),
    (volume, "NtFsControlFile NtQueryVolumeInformationFile NtSetVolumeInformationFile"),
    (
        files,
        "NtQueryInformationFile NtSetInformationFile NtOpenFile NtFlushBuffersFile NtCreateFile",
    ),
    (
        completion_port,
        "NtRemoveIoCompletion NtCreateIoCompletion NtOpenIoCompletion NtQueryIoCompletion "
        "NtRemoveIoCompletionEx NtSetIoCompletion",
    ),
    (cancel, "NtCancelIoFile NtCancelIoFileEx"),
    (load, "NtLoadDriver NtUnloadDriver"),
    (objects, "NtClose"),
    (handles, "NtWaitForSingleObject NtDuplicateObject NtWaitForMultipleObjects"),
    (events, "NtSetEvent NtClearEvent NtOpenEvent NtCreateEvent NtPulseEvent NtResetEvent"),
    (mutants, "NtReleaseMutant NtCreateMutant NtOpenMutant"),
    (semaphores, "NtReleaseSemaphore NtCreateSemaphore NtOpenSemaphore"),
    (
        memory,
        "NtAllocateVirtualMemory NtFreeVirtualMemory NtQueryVirtualMemory NtWriteVirtualMemory "
        "NtReadVirtualMemory NtProtectVirtualMemory",
    ),
    (
        threads,
        "NtOpenProcess NtTerminateProcess NtDelayExecution NtYieldExecution NtResumeThread "
        "NtTerminateThread NtCreateThreadEx NtOpenThread",
    ),
    (
        information,
        "NtSetInformationThread NtQueryInformationProcess NtSetInformationProcess "
        "NtQueryInformationThread NtQuerySystemInformation",
    ),
    (
        tokens,
        "NtQueryInformationToken NtOpenThreadTokenEx NtOpenProcessTokenEx NtAdjustPrivilegesToken "
        "NtDuplicateToken NtFilterToken NtOpenProcessToken",
    ),
    (user_apc, "NtQueueApcThread NtTestAlert"),
)

SYSTEM_SERVICES: dict[str, Callable[..., int]] = {
    name: getattr(module, name) for module, names in _NAMES for name in names.split()
}
"""By name."""
