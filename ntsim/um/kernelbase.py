"""KERNELBASE: Win32 calls as they become system calls.

Arguments are numbers and user addresses, as in C; results are NTSTATUS values, where C has BOOL and
the last error. Structures for a system call are laid out in the thread's scratch page.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from greenlet import getcurrent

from ntsim.abi import wdm_constants as c
from ntsim.abi import win32_constants as w
from ntsim.abi.ioctl import FILE_DEVICE_FILE_SYSTEM
from ntsim.um import ntdll
from ntsim.um import thread as t
from ntsim.um.paths import nt_path

if TYPE_CHECKING:
    from ntsim.um.thread import UserThread

STATUS_PENDING = 0x103
OBJ_CASE_INSENSITIVE, OBJ_OPENIF = 0x40, 0x80
SYNCHRONIZE, FILE_READ_ATTRIBUTES, DELETE = 0x10_0000, 0x80, 0x1_0000
_FILE_DISPOSITIONS = {
    w.CREATE_NEW: c.FILE_CREATE,
    w.CREATE_ALWAYS: c.FILE_OVERWRITE_IF,
    w.OPEN_EXISTING: c.FILE_OPEN,
    w.OPEN_ALWAYS: c.FILE_OPEN_IF,
    w.TRUNCATE_EXISTING: c.FILE_OVERWRITE,
}
_FILE_FLAGS = {
    w.FILE_FLAG_WRITE_THROUGH: c.FILE_WRITE_THROUGH,
    w.FILE_FLAG_NO_BUFFERING: c.FILE_NO_INTERMEDIATE_BUFFERING,
    w.FILE_FLAG_RANDOM_ACCESS: c.FILE_RANDOM_ACCESS,
    w.FILE_FLAG_SEQUENTIAL_SCAN: c.FILE_SEQUENTIAL_ONLY,
    w.FILE_FLAG_DELETE_ON_CLOSE: c.FILE_DELETE_ON_CLOSE,
    w.FILE_FLAG_OPEN_REPARSE_POINT: c.FILE_OPEN_REPARSE_POINT,
}


def running() -> UserThread:
    """The calling thread."""
    return getcurrent().user  # type: ignore[no-any-return]


def object_attributes(user: UserThread, name: str, attributes: int) -> tuple[int, int]:
    """(address of OBJECT_ATTRIBUTES naming `name`, heap block to free or 0)."""
    data = name.encode("utf-16-le", "surrogatepass")
    block = 0
    if len(data) <= t.SMALL_INPUT:
        text = user.put(t.INPUT, data) if data else 0
    else:
        text = block = user.process.heap.allocate(len(data))
        user.mmu.write(block, data)
    length = min(len(data), 0xFFFE)
    user.put(t.NAME, struct.pack("<HHxxxxQ", length, length, text))
    named = user.scratch + t.NAME if data else 0
    made = struct.pack("<QQQQQQ", 0x30, 0, named, attributes, 0, 0)
    return user.put(t.ATTRIBUTES, made), block


def CreateFileW(
    lpFileName: str,
    dwDesiredAccess: int,
    dwShareMode: int,
    dwCreationDisposition: int,
    dwFlagsAndAttributes: int,
) -> tuple[int, int]:
    """(status, handle)."""
    user = running()
    overlapped = dwFlagsAndAttributes & w.FILE_FLAG_OVERLAPPED
    options = c.FILE_NON_DIRECTORY_FILE | (0 if overlapped else c.FILE_SYNCHRONOUS_IO_NONALERT)
    if dwFlagsAndAttributes & w.FILE_FLAG_BACKUP_SEMANTICS:
        options &= ~c.FILE_NON_DIRECTORY_FILE
    for flag, option in _FILE_FLAGS.items():
        options |= option if dwFlagsAndAttributes & flag else 0
    access = dwDesiredAccess | SYNCHRONIZE | FILE_READ_ATTRIBUTES
    access |= DELETE if options & c.FILE_DELETE_ON_CLOSE else 0
    attributes, block = object_attributes(user, nt_path(lpFileName), OBJ_CASE_INSENSITIVE)
    status = ntdll.NtCreateFile(
        user.scratch + t.RESULT, access, attributes, user.scratch, 0,
        dwFlagsAndAttributes & 0x7FB7, dwShareMode, _FILE_DISPOSITIONS[dwCreationDisposition],
        options, 0, 0,
    )  # fmt: skip
    if block:
        user.process.heap.free(block)
    return status, user.number(t.RESULT) if status >> 30 != 3 else 0


def DeviceIoControl(
    hDevice: int,
    dwIoControlCode: int,
    lpInBuffer: int,
    nInBufferSize: int,
    lpOutBuffer: int,
    nOutBufferSize: int,
    lpStatusBlock: int,
    lpOverlapped: int,
) -> int:
    """Without OVERLAPPED, wait for the request even on an asynchronous handle.

    Codes of device type FILE_DEVICE_FILE_SYSTEM go to the file system: IRP_MJ_FILE_SYSTEM_CONTROL.
    """
    file_system = dwIoControlCode >> 16 == FILE_DEVICE_FILE_SYSTEM
    service = ntdll.NtFsControlFile if file_system else ntdll.NtDeviceIoControlFile
    if lpOverlapped:
        event, context = overlapped_event(running(), lpOverlapped)
        return service(
            hDevice, event, 0, context, lpOverlapped, dwIoControlCode,
            lpInBuffer, nInBufferSize, lpOutBuffer, nOutBufferSize,
        )  # fmt: skip
    status = service(
        hDevice, 0, 0, 0, lpStatusBlock, dwIoControlCode,
        lpInBuffer, nInBufferSize, lpOutBuffer, nOutBufferSize,
    )  # fmt: skip
    return status if status != STATUS_PENDING else wait_for_file(hDevice, lpStatusBlock)


def wait_for_file(handle: int, block: int) -> int:
    """Wait on the file itself; the status that its status block holds then."""
    status = ntdll.NtWaitForSingleObject(handle, 0, 0)
    if status >> 30 == 3:
        return status
    return int.from_bytes(running().mmu.read(block, 4), "little")


def overlapped_event(user: UserThread, overlapped: int) -> tuple[int, int]:
    """(event handle, APC context) of an OVERLAPPED; an event with its low bit set asks for no
    completion packet."""
    event = int.from_bytes(user.mmu.read(overlapped + 0x18, 8), "little")
    return event & ~1, 0 if event & 1 else overlapped


OVERLAPPED_OFFSET = 0x10
"""Where OffsetHigh:Offset lies in an OVERLAPPED, as a LARGE_INTEGER."""


def ReadFile(
    hFile: int, lpBuffer: int, nNumberOfBytesToRead: int, lpStatusBlock: int, lpOverlapped: int
) -> int:
    """The status of the read."""
    if lpOverlapped:
        event, context = overlapped_event(running(), lpOverlapped)
        offset = lpOverlapped + OVERLAPPED_OFFSET
        return ntdll.NtReadFile(
            hFile, event, 0, context, lpOverlapped, lpBuffer, nNumberOfBytesToRead, offset, 0
        )
    status = ntdll.NtReadFile(
        hFile, 0, 0, 0, lpStatusBlock, lpBuffer, nNumberOfBytesToRead, 0, 0
    )
    return status if status != STATUS_PENDING else wait_for_file(hFile, lpStatusBlock)


def WriteFile(
    hFile: int, lpBuffer: int, nNumberOfBytesToWrite: int, lpStatusBlock: int, lpOverlapped: int
) -> int:
    """The status of the write."""
    if lpOverlapped:
        event, context = overlapped_event(running(), lpOverlapped)
        offset = lpOverlapped + OVERLAPPED_OFFSET
        return ntdll.NtWriteFile(
            hFile, event, 0, context, lpOverlapped, lpBuffer, nNumberOfBytesToWrite, offset, 0
        )
    status = ntdll.NtWriteFile(
        hFile, 0, 0, 0, lpStatusBlock, lpBuffer, nNumberOfBytesToWrite, 0, 0
    )
    return status if status != STATUS_PENDING else wait_for_file(hFile, lpStatusBlock)


def FlushFileBuffers(hFile: int) -> int:
    """The status of IRP_MJ_FLUSH_BUFFERS."""
    return ntdll.NtFlushBuffersFile(hFile, running().scratch)


def CancelIo(hFile: int) -> int:
    """Cancel the calling thread's requests on a file."""
    return ntdll.NtCancelIoFile(hFile, running().scratch)


def CancelIoEx(hFile: int, lpOverlapped: int) -> int:
    """Cancel the process's requests on a file, or the one with that OVERLAPPED."""
    return ntdll.NtCancelIoFileEx(hFile, lpOverlapped, running().scratch)


def CloseHandle(hObject: int) -> int:
    """NtClose."""
    return ntdll.NtClose(hObject)


def DuplicateHandle(
    hSourceProcess: int, hSource: int, hTargetProcess: int, dwDesiredAccess: int, dwOptions: int
) -> tuple[int, int]:
    """(status, handle)."""
    user = running()
    status = ntdll.NtDuplicateObject(
        hSourceProcess, hSource, hTargetProcess, user.scratch + t.RESULT, dwDesiredAccess, 0,
        dwOptions,
    )  # fmt: skip
    return status, 0 if status else user.number(t.RESULT)


def named_object(name: str | None, flags: int = 0) -> tuple[int, int]:
    """(OBJECT_ATTRIBUTES or 0, heap block) of a name in the session's BaseNamedObjects.

    Global\\ and Local\\ are the same directory here.
    """
    if not name:
        return 0, 0
    head, _, rest = name.partition("\\")
    short = rest if rest and head.lower() in ("global", "local") else name
    return object_attributes(running(), f"\\BaseNamedObjects\\{short}", flags)


def create_object(service: str, name: str | None, access: int, *numbers: int) -> tuple[int, int]:
    """(status, handle) of NtCreateEvent and its like: the last parameters differ."""
    user = running()
    attributes, block = named_object(name, OBJ_OPENIF)
    stub = ntdll.SERVICES[service][1]
    status = stub(user.scratch + t.RESULT, access, attributes, *numbers)
    if block:
        user.process.heap.free(block)
    return status, 0 if status >> 30 == 3 else user.number(t.RESULT)


def open_object(service: str, name: str, access: int) -> tuple[int, int]:
    """(status, handle) of NtOpenEvent and its like."""
    user = running()
    attributes, block = named_object(name)
    status = ntdll.SERVICES[service][1](user.scratch + t.RESULT, access, attributes)
    if block:
        user.process.heap.free(block)
    return status, 0 if status else user.number(t.RESULT)


def CreateEventExW(lpName: str | None, bManualReset: int, bInitialState: int) -> tuple[int, int]:
    """(status, handle)."""
    kind = 0 if bManualReset else 1
    return create_object("NtCreateEvent", lpName, w.EVENT_ALL_ACCESS, kind, bInitialState)


def CreateMutexExW(lpName: str | None, bInitialOwner: int) -> tuple[int, int]:
    """(status, handle)."""
    return create_object("NtCreateMutant", lpName, w.MUTANT_ALL_ACCESS, bInitialOwner)


def CreateSemaphoreExW(
    lpName: str | None, lInitialCount: int, lMaximumCount: int
) -> tuple[int, int]:
    """(status, handle)."""
    access = w.SEMAPHORE_ALL_ACCESS
    return create_object("NtCreateSemaphore", lpName, access, lInitialCount, lMaximumCount)


Packet = tuple[int, int, int, int]
"""Of a completion port: key, address of the OVERLAPPED, status, bytes transferred."""


def set_file_information(hFile: int, kind: int, data: bytes) -> int:
    """The status of NtSetInformationFile."""
    user = running()
    return ntdll.NtSetInformationFile(
        hFile, user.scratch, user.put(t.STRUCTURE, data), len(data), kind
    )


def set_completion_port(hFile: int, hPort: int, key: int) -> int:
    """Tie a file to a port."""
    file_completion_information = 30
    return set_file_information(hFile, file_completion_information, struct.pack("<QQ", hPort, key))


def set_completion(hPort: int, key: int, overlapped: int, transferred: int) -> int:
    return ntdll.NtSetIoCompletion(hPort, key, overlapped, 0, transferred)


def remove_completion(hPort: int, milliseconds: int) -> tuple[int, Packet]:
    """(status, packet); the packet is zeros unless the status is 0."""
    user = running()
    timeout = timeout_address(user, milliseconds)
    values = user.put_numbers(t.STRUCTURE, 0, 0, 0, 0)
    status = ntdll.NtRemoveIoCompletion(hPort, values, values + 8, values + 16, timeout)
    key, overlapped, result, transferred = struct.unpack("<QQQQ", user.mmu.read(values, 32))
    return status, (key, overlapped, result & 0xFFFF_FFFF, transferred)


def remove_completions(
    hPort: int, count: int, milliseconds: int, bAlertable: int
) -> tuple[int, list[Packet]]:
    """(status, packets)."""
    user = running()
    timeout = timeout_address(user, milliseconds)
    block = user.process.heap.allocate(count * 32)
    status = ntdll.NtRemoveIoCompletionEx(
        hPort, block, count, user.scratch + t.RESULT, timeout, bAlertable
    )
    found = [] if status else list(
        struct.iter_unpack("<QQQQ", user.mmu.read(block, 32 * user.number(t.RESULT, 4)))
    )  # fmt: skip
    user.process.heap.free(block)
    return status, [(key, at, result & 0xFFFF_FFFF, size) for key, at, result, size in found]


def SetEvent(hEvent: int) -> int:
    return ntdll.NtSetEvent(hEvent, 0)


def ResetEvent(hEvent: int) -> int:
    return ntdll.NtClearEvent(hEvent)


def PulseEvent(hEvent: int) -> int:
    return ntdll.NtPulseEvent(hEvent, 0)


def ReleaseMutex(hMutex: int) -> int:
    return ntdll.NtReleaseMutant(hMutex, 0)


def ReleaseSemaphore(hSemaphore: int, lReleaseCount: int) -> tuple[int, int]:
    """(status, count before)."""
    user = running()
    status = ntdll.NtReleaseSemaphore(hSemaphore, lReleaseCount, user.scratch + t.RESULT)
    return status, 0 if status else user.number(t.RESULT, 4)


def timeout_address(user: UserThread, milliseconds: int) -> int:
    """A relative LARGE_INTEGER in the scratch page; NULL for INFINITE."""
    if milliseconds & 0xFFFF_FFFF == w.INFINITE:
        return 0
    return user.put(t.TIMEOUT, struct.pack("<q", -10_000 * (milliseconds & 0xFFFF_FFFF)))


def WaitForSingleObjectEx(hHandle: int, dwMilliseconds: int, bAlertable: int) -> int:
    """The status of the wait."""
    timeout = timeout_address(running(), dwMilliseconds)
    return ntdll.NtWaitForSingleObject(hHandle, bAlertable, timeout)


def WaitForMultipleObjectsEx(
    lpHandles: tuple[int, ...], bWaitAll: int, dwMilliseconds: int, bAlertable: int
) -> int:
    """The status of the wait; at most 64 handles."""
    user = running()
    timeout = timeout_address(user, dwMilliseconds)
    handles = user.put_numbers(t.HANDLES, *lpHandles[:64])
    kind = 0 if bWaitAll else 1
    return ntdll.NtWaitForMultipleObjects(len(lpHandles), handles, kind, bAlertable, timeout)


def SleepEx(dwMilliseconds: int, bAlertable: int) -> int:
    """The status of the delay; a sleep of 0 gives way to other ready threads."""
    if not dwMilliseconds and not bAlertable:
        return ntdll.NtYieldExecution()
    user = running()
    timeout = timeout_address(user, dwMilliseconds)
    if not timeout:
        timeout = user.put(t.TIMEOUT, struct.pack("<q", -(1 << 63)))
    return ntdll.NtDelayExecution(bAlertable, timeout)


def CreateRemoteThreadEx(
    hProcess: int, lpStartAddress: int, lpParameter: int, dwCreationFlags: int, dwStackSize: int
) -> tuple[int, int]:
    """(status, handle)."""
    user = running()
    suspended = 1 if dwCreationFlags & w.CREATE_SUSPENDED else 0
    status = ntdll.NtCreateThreadEx(
        user.scratch + t.RESULT, w.THREAD_ALL_ACCESS, 0, hProcess, lpStartAddress, lpParameter,
        suspended, 0, 0, dwStackSize, 0,
    )  # fmt: skip
    return status, 0 if status else user.number(t.RESULT)


def QueueUserAPC(pfnAPC: int, hThread: int, dwData: int) -> int:
    return ntdll.NtQueueApcThread(hThread, pfnAPC, dwData, 0, 0)


def VirtualAlloc(
    lpAddress: int, dwSize: int, flAllocationType: int, flProtect: int
) -> tuple[int, int]:
    """(status, address)."""
    user = running()
    base = user.put_numbers(t.RESULT, lpAddress, dwSize)
    status = ntdll.NtAllocateVirtualMemory(
        ntdll.CURRENT_PROCESS, base, 0, base + 8, flAllocationType, flProtect
    )
    return status, 0 if status else user.number(t.RESULT)


def VirtualFree(lpAddress: int, dwSize: int, dwFreeType: int) -> int:
    base = running().put_numbers(t.RESULT, lpAddress, dwSize)
    return ntdll.NtFreeVirtualMemory(ntdll.CURRENT_PROCESS, base, base + 8, dwFreeType)


def VirtualProtect(lpAddress: int, dwSize: int, flNewProtect: int) -> tuple[int, int]:
    """(status, old protection)."""
    user = running()
    base = user.put_numbers(t.RESULT, lpAddress, dwSize, 0)
    status = ntdll.NtProtectVirtualMemory(
        ntdll.CURRENT_PROCESS, base, base + 8, flNewProtect, base + 16
    )
    return status, 0 if status else user.number(t.RESULT3, 4)


def VirtualQuery(lpAddress: int) -> tuple[int, bytes]:
    """(status, MEMORY_BASIC_INFORMATION)."""
    user = running()
    buffer = user.put(t.STRUCTURE, bytes(48))
    status = ntdll.NtQueryVirtualMemory(ntdll.CURRENT_PROCESS, lpAddress, 0, buffer, 48, 0)
    return status, user.mmu.read(buffer, 48)


def information(service: str, handle: int, kind: int, size: int) -> tuple[int, bytes]:
    """(status, bytes) of NtQueryInformationProcess or NtQueryInformationThread."""
    user = running()
    buffer = user.put(t.STRUCTURE, bytes(size))
    status = ntdll.SERVICES[service][1](handle, kind, buffer, size, 0)
    return status, user.mmu.read(buffer, size)


def SetProcessWorkingSetSize(hProcess: int, dwMinimum: int, dwMaximum: int) -> int:
    """The status of NtSetInformationProcess with QUOTA_LIMITS."""
    data = struct.pack("<6Q", 0, 0, dwMinimum, dwMaximum, 0, 0)
    buffer = running().put(t.STRUCTURE, data)
    return ntdll.NtSetInformationProcess(hProcess, 1, buffer, len(data))


def set_thread_information(handle: int, kind: int, data: bytes) -> int:
    """The status of NtSetInformationThread."""
    buffer = running().put(t.STRUCTURE, data)
    return ntdll.NtSetInformationThread(handle, kind, buffer, len(data))


def GetSystemInfo() -> tuple[int, bytes]:
    """(status, SYSTEM_BASIC_INFORMATION)."""
    user = running()
    buffer = user.put(t.STRUCTURE, bytes(64))
    status = ntdll.NtQuerySystemInformation(0, buffer, 64, 0)
    return status, user.mmu.read(buffer, 64)


def open_by_id(service: str, access: int, pid: int, tid: int) -> tuple[int, int]:
    """(status, handle) of NtOpenProcess or NtOpenThread."""
    user = running()
    client = user.put_numbers(t.CLIENT_ID, pid, tid)
    attributes, _ = object_attributes(user, "", 0)
    stub = ntdll.SERVICES[service][1]
    status = stub(user.scratch + t.RESULT, access, attributes, client)
    return status, 0 if status else user.number(t.RESULT)
