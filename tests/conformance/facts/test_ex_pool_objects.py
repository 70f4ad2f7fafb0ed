"""Facts of pool, look-aside lists, callbacks, threads, processes and drivers' extensions."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, poll, start, wait

POOL = Facts(f"{KMTESTS}/ntos_ex/ExPools.c")
LOOKASIDE = Facts(f"{WINE}/driver.c test_lookaside_list")
CALLBACK = Facts(f"{KMTESTS}/ntos_ex/ExCallback.c")
THREAD = Facts(f"{WINE}/driver.c test_current_thread")
LOOKUP = Facts(f"{WINE}/driver.c test_lookup_thread")
EXTENSION = Facts(f"{WINE}/driver.c test_driver_object_extension")
VERSION = Facts(f"{WINE}/driver.c test_version")
PAGE = 0x1000
TAG = int.from_bytes(b"MyTa", "little")


@POOL.fact([True, True], kind=[NonPagedPool, PagedPool], size=[11, 23, 101, 4000, 4096, 50_001])
def a_block_of_any_size_can_be_filled_and_freed(kind: int, size: int) -> list[bool]:
    block = ExAllocatePoolWithTag(kind, size, TAG)
    RtlFillMemory(block, size, 0xAB)
    filled = read_bytes(block, size) == b"\xab" * size
    ExFreePoolWithTag(block, TAG)
    return [block % 16 == 0, filled]


@POOL.fact([200, True])
def many_small_blocks_are_all_different() -> list[Any]:
    blocks = [ExAllocatePoolWithTag(NonPagedPool, 42, TAG) for _ in range(200)]
    count = len(set(blocks))
    apart = all(b - a >= 42 for a, b in zip(sorted(blocks), sorted(blocks)[1:], strict=False))
    for block in blocks:
        ExFreePoolWithTag(block, TAG)
    return [count, apart]


@POOL.fact(
    lambda size: size <= PAGE - 32,
    size=[8, PAGE - 32, PAGE - 31, PAGE - 24, PAGE],
)
def a_block_keeps_its_tag_in_a_header_up_to_a_page_less_four_pointers(size: int) -> bool:
    block = ExAllocatePoolWithTag(PagedPool, size, TAG)
    if block % PAGE == 0:
        return False
    return read_bytes(block - 12, 4) == b"MyTa"


@POOL.fact([PAGE, False])
def ExQueryPoolBlockSize_of_a_page_is_a_page() -> list[Any]:
    charged, block = BOOLEAN(), ExAllocatePoolWithTag(NonPagedPool, PAGE, TAG)
    return [ExQueryPoolBlockSize(block, charged), bool(charged[0])]


@POOL.fact([2 * PAGE, True, True])
def ExQueryPoolBlockSize_rounds_up() -> list[Any]:
    charged = BOOLEAN()
    large = ExQueryPoolBlockSize(ExAllocatePoolWithTag(NonPagedPool, PAGE + 1, TAG), charged)
    small = ExQueryPoolBlockSize(ExAllocatePoolWithTag(NonPagedPool, 8, TAG), charged)
    return [large, small >= 8, not charged[0]]


# Look-aside lists


@LOOKASIDE.fact(
    lambda kind, flags: [4, 256, 0, 0, 0, 0, kind | flags, TAG, 32, 0, 0],
    kind=[NonPagedPool, PagedPool], flags=[POOL_NX_ALLOCATION, 0],
)  # fmt: skip
def a_lookaside_list_starts_with_depth_4_of_256_whatever_depth_is_asked_for(
    kind: int, flags: int
) -> list[int]:
    if kind == PagedPool:
        made = PAGED_LOOKASIDE_LIST()
        ExInitializePagedLookasideList(made, NULL, NULL, flags, 32, TAG, 20)
    else:
        made = NPAGED_LOOKASIDE_LIST()
        ExInitializeNPagedLookasideList(made, NULL, NULL, flags, 32, TAG, 20)
    v = made.L
    found = [v.Depth, v.MaximumDepth, v.TotalAllocates, v.AllocateMisses, v.TotalFrees]
    found += [v.FreeMisses, v.Type, v.Tag, v.Size, v.LastTotalAllocates, v.LastAllocateMisses]
    if kind == PagedPool:
        ExDeletePagedLookasideList(made)
    else:
        ExDeleteNPagedLookasideList(made)
    return found


# Callback objects


@CALLBACK.fact([STATUS_SUCCESS, True, b"CBRe", [(7, 8, 0), (7, 8, 0)]])
def a_registered_callback_is_called_at_each_notification() -> list[Any]:
    attributes = OBJECT_ATTRIBUTES()
    name = UNICODE_STRING("\\Callback\\KmtestExCallbackTestCallback")
    InitializeObjectAttributes(attributes, name, OBJ_CASE_INSENSITIVE, NULL, NULL)
    status, callback = ExCreateCallback(attributes, TRUE, TRUE)
    calls = []

    def routine(Context: Any, One: Any, Two: Any) -> None:
        calls.append((int(One), int(Two), KeGetCurrentIrql()))

    registration = ExRegisterCallback(callback, routine, NULL)
    tag = read_bytes(int(registration) - 12, 4)
    ExNotifyCallback(callback, 7, 8)
    ExNotifyCallback(callback, 7, 8)
    ExUnregisterCallback(registration)
    ExNotifyCallback(callback, 9, 9)
    ObDereferenceObject(callback)
    return [status, bool(registration), tag, calls]


# Threads and processes


@THREAD.fact([3, STATUS_TIMEOUT, True, True, True, STATUS_TIMEOUT, True, True, KernelMode])
def a_system_thread_belongs_to_the_system_process() -> list[Any]:
    process, thread = IoGetCurrentProcess(), PsGetCurrentThread()
    system = MmGetSystemRoutineAddress(UNICODE_STRING("PsInitialSystemProcess"))
    found = [cast(process, PUCHAR)[0] & 0x7F, poll(process)]
    found.append(int(process) == int.from_bytes(read_bytes(system, 8), "little"))
    found.append(PsGetProcessId(process) == PsGetCurrentProcessId())
    found.append(PsGetThreadProcessId(thread) == PsGetCurrentProcessId())
    found += [poll(thread), PsGetThreadId(thread) == PsGetCurrentThreadId()]
    return [*found, bool(PsIsSystemThread(thread)), ExGetPreviousMode()]


@THREAD.fact([STATUS_SUCCESS, STATUS_SUCCESS, True])
def the_parent_of_a_process_is_told_alike_by_handle_and_by_object() -> list[Any]:
    handle = HANDLE()
    process = IoGetCurrentProcess()
    opened = ObOpenObjectByPointer(
        process, OBJ_KERNEL_HANDLE, NULL, PROCESS_QUERY_INFORMATION, NULL, KernelMode, handle
    )
    block = ExAllocatePoolWithTag(NonPagedPool, 48, TAG)
    status = ZwQueryInformationProcess(handle[0], ProcessBasicInformation, block, 48, NULL)
    parent = int.from_bytes(read_bytes(block + 40, 8), "little")
    return [opened, status, parent == int(PsGetProcessInheritedFromUniqueProcessId(process))]


@LOOKUP.fact([STATUS_SUCCESS, True, 0xC000000B])
def the_current_thread_is_found_by_its_id_and_none_by_zero() -> list[Any]:
    status, thread = PsLookupThreadByThreadId(PsGetCurrentThreadId())
    same = int(thread) == int(KeGetCurrentThread())
    return [status, same, PsLookupThreadByThreadId(NULL)[0]]


@THREAD.fact([True, 0])
def a_thread_that_has_ended_is_signalled() -> list[Any]:
    thread = start(lambda context: None)
    status = wait(thread)
    return [bool(PsIsThreadTerminating(thread)), status]


# A driver object's extensions


@EXTENSION.fact([STATUS_SUCCESS, True, True, 0xC0000035, True, True, b"\0" * 100])
def a_driver_object_keeps_one_extension_for_each_client(DriverObject: Any) -> list[Any]:
    out = PVOID()
    found: list[Any] = [IoAllocateDriverObjectExtension(DriverObject, NULL, 100, out)]
    first = int(out[0])
    found += [first != 0, int(IoGetDriverObjectExtension(DriverObject, NULL)) == first]
    found += [IoAllocateDriverObjectExtension(DriverObject, NULL, 100, out), int(out[0]) == 0]
    found.append(int(IoGetDriverObjectExtension(DriverObject, 0xDEAD)) == 0)
    return [*found, read_bytes(first, 100)]


@VERSION.fact([19041, 19041, 10, 0])
def NtBuildNumber_is_found_by_name_and_is_the_build_that_PsGetVersion_tells() -> list[int]:
    major, minor, build = ULONG(), ULONG(), ULONG()
    PsGetVersion(major, minor, build, NULL)
    address = MmGetSystemRoutineAddress(UNICODE_STRING("NtBuildNumber"))
    number = int.from_bytes(read_bytes(address, 2), "little")
    return [number, build[0], major[0], minor[0]]


@VERSION.fact([True] * 4, name=["ExEventObjectType", "IoFileObjectType", "PsThreadType",
                                "IoDriverObjectType"])  # fmt: skip
def the_object_types_are_variables_that_are_found_by_name(name: str) -> list[bool]:
    address = MmGetSystemRoutineAddress(UNICODE_STRING(name))
    value = int.from_bytes(read_bytes(address, 8), "little")
    types = {
        "ExEventObjectType": ExEventObjectType, "IoFileObjectType": IoFileObjectType,
        "PsThreadType": PsThreadType, "IoDriverObjectType": IoDriverObjectType,
    }  # fmt: skip
    kernel = value >> 47 == 0x1FFFF
    again = MmGetSystemRoutineAddress(UNICODE_STRING(name))
    return [address != 0, again == address, kernel, value == types[name][0]]


test_fact = as_tests(POOL, LOOKASIDE, CALLBACK, THREAD, LOOKUP, EXTENSION, VERSION)
