"""Facts of objects: references and handles, names, directories, symbolic links, types."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests, large, raised, start, text_of, wait

REFERENCE = Facts(f"{KMTESTS}/ntos_ob/ObReference.c")
WINE_REFERENCE = Facts(f"{WINE}/driver.c test_ob_reference")
HANDLES = Facts(f"{KMTESTS}/ntos_ob/ObHandle.c")
NAME = Facts(f"{WINE}/driver.c test_object_name")
PERMANENT = Facts(f"{WINE}/driver.c test_permanence")
LINK = Facts(f"{KMTESTS}/ntos_ob/ObSymbolicLink.c")
QUERY = Facts(f"{KMTESTS}/ntos_ob/ObQuery.c")
WAIT = Facts(f"{KMTESTS}/ntos_ob/ObWait.c")
TYPES = Facts(f"{KMTESTS}/ntos_ob/ObTypes.c")
OWN_TYPES = Facts(f"{KMTESTS}/ntos_ob/ObType.c")
TAG = 0x74736554
CURRENT_PROCESS = (1 << 64) - 1
KERNEL_HANDLES = 0xFFFFFFFF80000000
FLAGS = [0, OBJ_CASE_INSENSITIVE, OBJ_KERNEL_HANDLE, OBJ_PERMANENT,
         OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE | OBJ_PERMANENT]  # fmt: skip


def attributes(name: str | None = None, flags: int = OBJ_KERNEL_HANDLE) -> Any:
    made = OBJECT_ATTRIBUTES()
    text = UNICODE_STRING(name) if name else NULL
    InitializeObjectAttributes(made, text, flags, NULL, NULL)
    return made


def directory(name: str | None = None, flags: int = OBJ_KERNEL_HANDLE) -> tuple[int, int]:
    """(status, handle) of a new directory."""
    handle = HANDLE()
    status = ZwCreateDirectoryObject(handle, DIRECTORY_ALL_ACCESS, attributes(name, flags))
    return status, int(handle[0])


def open_directory(name: str) -> int:
    """The status of opening it; the handle is closed."""
    handle = HANDLE()
    status = ZwOpenDirectoryObject(handle, DIRECTORY_QUERY, attributes(name))
    if not status:
        ZwClose(handle[0])
    return status


def reference(handle: int, kind: Any = NULL) -> tuple[int, int]:
    out = PVOID()
    status = ObReferenceObjectByHandle(handle, 0, kind, KernelMode, out, NULL)
    return status, int(out[0])


# References


@REFERENCE.fact([1, 2, 3, 4, 3, 2, 1, 0], name=[None, "\\YayDirectory"], flags=FLAGS)
def references_of_every_kind_count_one_by_one(name: str | None, flags: int) -> list[int]:
    _, handle = directory(name, flags)
    _, body = reference(handle)

    def count() -> int:
        ObReferenceObject(body)
        return ObDereferenceObject(body)

    first = count()
    counts = [ObReferenceObject(body) - first]
    ObReferenceObjectByPointer(body, 0, NULL, KernelMode)
    counts += [count() - first, ObReferenceObject(body) - first]
    reference(handle)
    counts.append(count() - first)
    return counts + [ObDereferenceObject(body) - first for _ in range(4)]


@REFERENCE.fact([STATUS_SUCCESS, True, STATUS_SUCCESS, True, STATUS_OBJECT_NAME_NOT_FOUND])
def an_object_is_referenced_by_its_name_in_any_case_unless_it_must_match() -> list[Any]:
    name = "\\YayDirectory"
    _, handle = directory(name, OBJ_KERNEL_HANDLE)
    _, body = reference(handle)
    kind = ObGetObjectType(body)
    found: list[Any] = []
    for text in (name, name.upper()):
        out = PVOID()
        status = ObReferenceObjectByName(
            UNICODE_STRING(text), OBJ_CASE_INSENSITIVE, NULL, 0, kind, KernelMode, NULL, out
        )
        found += [status, int(out[0]) == body]
    missing = UNICODE_STRING("\\NayDirectory")
    return [*found, ObReferenceObjectByName(missing, 0, NULL, 0, kind, KernelMode, NULL, PVOID())]


@REFERENCE.fact([STATUS_SUCCESS, STATUS_SUCCESS], flags=[0, OBJ_PERMANENT])
def an_object_may_be_made_temporary_twice(flags: int) -> list[int]:
    _, handle = directory("\\YayDirectory", OBJ_KERNEL_HANDLE | flags)
    return [ZwMakeTemporaryObject(handle), ZwMakeTemporaryObject(handle)]


@WINE_REFERENCE.fact([
    STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS, True,
    STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS, True, STATUS_SUCCESS, True,
])  # fmt: skip
def a_handle_is_referenced_as_its_own_type_or_as_any() -> list[Any]:
    handle = HANDLE()
    ZwCreateEvent(handle, SYNCHRONIZE, attributes(), NotificationEvent, TRUE)
    event, file = ExEventObjectType[0], IoFileObjectType[0]
    found: list[Any] = [reference(0, event)[0], reference(int(handle[0]), file)[0]]
    status, first = reference(int(handle[0]))
    found += [status, int(ObGetObjectType(first)) == event, reference(int(handle[0]), file)[0]]
    for kind in (event, NULL):
        status, body = reference(int(handle[0]), kind)
        found += [status, body == first]
    return found


@WINE_REFERENCE.fact([6, STATUS_SUCCESS, STATUS_SUCCESS, True, STATUS_OBJECT_TYPE_MISMATCH])
def a_thread_is_opened_by_pointer_as_a_thread_and_not_as_a_file() -> list[Any]:
    thread = start(lambda context: None)
    handle = HANDLE()
    found: list[Any] = [cast(thread, PUCHAR)[0] & 0x7F]
    kernel = OBJ_KERNEL_HANDLE
    found.append(ObOpenObjectByPointer(thread, kernel, NULL, 0, NULL, KernelMode, handle))
    status, body = reference(int(handle[0]), PsThreadType[0])
    found += [status, body == int(thread)]
    ZwClose(handle[0])
    file = IoFileObjectType[0]
    return [*found, ObOpenObjectByPointer(thread, kernel, NULL, 0, file, KernelMode, handle)]


# Handles


def basic(handle: int) -> tuple[int, int, int]:
    """(attributes, granted access, handle count)."""
    block = ExAllocatePoolWithTag(NonPagedPool, 56, TAG)
    ZwQueryObject(handle, ObjectBasicInformation, block, 56, NULL)
    words = [int.from_bytes(read_bytes(block + at, 4), "little") for at in (0, 4, 8)]
    return words[0], words[1], words[2]


@HANDLES.fact([(STATUS_SUCCESS, True, (0, DIRECTORY_ALL_ACCESS, 1))], kernel=[False, True])
def a_handle_is_a_kernel_handle_if_asked_for(kernel: bool) -> list[Any]:
    status, handle = directory(None, OBJ_KERNEL_HANDLE if kernel else 0)
    return [(status, (handle >= KERNEL_HANDLES) == kernel, basic(handle))]


DUPLICATES = {
    "all access": (DIRECTORY_ALL_ACCESS, 0, 0, DIRECTORY_ALL_ACCESS, 0),
    "query access": (DIRECTORY_QUERY, 0, 0, DIRECTORY_QUERY, 0),
    "inherited": (DIRECTORY_QUERY, OBJ_INHERIT, 0, DIRECTORY_QUERY, OBJ_INHERIT),
    "same access": (
        DIRECTORY_QUERY, OBJ_INHERIT, DUPLICATE_SAME_ACCESS, DIRECTORY_ALL_ACCESS, OBJ_INHERIT
    ),
    "same attributes": (
        DIRECTORY_QUERY, OBJ_INHERIT, DUPLICATE_SAME_ATTRIBUTES, DIRECTORY_QUERY, 0
    ),
    "same access and attributes": (
        DIRECTORY_QUERY, OBJ_INHERIT, DUPLICATE_SAME_ACCESS | DUPLICATE_SAME_ATTRIBUTES,
        DIRECTORY_ALL_ACCESS, 0,
    ),
}  # fmt: skip


@HANDLES.fact(
    lambda kind, kernel: [
        STATUS_SUCCESS, False, (DUPLICATES[kind][4], DUPLICATES[kind][3], 2),
        (0, DIRECTORY_ALL_ACCESS, 2), STATUS_SUCCESS, (0, DIRECTORY_ALL_ACCESS, 1),
    ],
    kind=list(DUPLICATES), kernel=[False, True],
)  # fmt: skip
def a_duplicate_has_the_access_and_attributes_asked_for_and_is_a_user_handle(
    kind: str, kernel: bool
) -> list[Any]:
    _, handle = directory(None, OBJ_KERNEL_HANDLE if kernel else 0)
    access, flags, options, _, _ = DUPLICATES[kind]
    copy = HANDLE()
    current = CURRENT_PROCESS
    found: list[Any] = [ZwDuplicateObject(current, handle, current, copy, access, flags, options)]
    found += [int(copy[0]) >= KERNEL_HANDLES, basic(int(copy[0])), basic(handle)]
    return [*found, ZwClose(copy[0]), basic(handle)]


@HANDLES.fact(lambda handle, routine: STATUS_INVALID_HANDLE,
              handle=[0, 0xFFFFFFFF80000000], routine=["ZwClose", "kernel", "user"])  # fmt: skip
def closing_what_is_no_handle_of_either_table_is_an_invalid_handle(
    handle: int, routine: str
) -> int:
    if routine == "ZwClose":
        return ZwClose(handle)
    return ObCloseHandle(handle, UserMode if routine == "user" else KernelMode)


@HANDLES.fact(STATUS_SUCCESS, routine=["ZwClose", "kernel", "user"])
def closing_the_pseudo_handle_of_the_current_process_succeeds(routine: str) -> int:
    current = 0xFFFFFFFFFFFFFFFF
    if routine == "ZwClose":
        return ZwClose(current)
    return ObCloseHandle(current, UserMode if routine == "user" else KernelMode)


@HANDLES.fact([STATUS_INVALID_HANDLE, 1, STATUS_SUCCESS])
def user_mode_cannot_close_a_kernel_handle() -> list[int]:
    _, handle = directory()
    found = [ObCloseHandle(handle, UserMode), basic(handle)[2]]
    return [*found, ObCloseHandle(handle, KernelMode)]


# Names


def query_name(body: Any, room: int) -> list[Any]:
    block, length = ExAllocatePoolWithTag(NonPagedPool, 1024, TAG), ULONG()
    status = ObQueryNameString(body, block, room, length)
    name = cast(block, PUNICODE_STRING)
    if status:
        return [status, length[0]]
    text = text_of(name) if name.Length else ""
    return [status, length[0], text, name.Length, name.MaximumLength]


@NAME.fact(
    lambda name: [
        [STATUS_INFO_LENGTH_MISMATCH, 18 + 2 * len(name)],
        [STATUS_SUCCESS, 18 + 2 * len(name), name, 2 * len(name), 2 * len(name) + 2],
    ],
    name=["\\Device\\WineTestDriver"],
)
def a_devices_name_is_told_with_its_terminator(name: str, DriverObject: Any) -> list[Any]:
    text = UNICODE_STRING(name)
    _, device = IoCreateDevice(DriverObject, 0, text, FILE_DEVICE_UNKNOWN, 0, FALSE)
    return [query_name(device, 0), query_name(device, 1024)]


@NAME.fact([STATUS_SUCCESS, 50, "\\wine_test_event", 32, 34])
def a_named_event_in_the_root_has_its_name() -> list[Any]:
    handle = HANDLE()
    ZwCreateEvent(handle, 0, attributes("\\wine_test_event"), NotificationEvent, TRUE)
    return query_name(reference(int(handle[0]))[1], 1024)


@NAME.fact([STATUS_SUCCESS, 16, "", 0, 0], kind=["event", "thread", "process"])
def what_has_no_name_is_told_in_sixteen_bytes(kind: str) -> list[Any]:
    handle = HANDLE()
    bodies = {"thread": KeGetCurrentThread, "process": IoGetCurrentProcess}
    if kind == "event":
        return query_name(IoCreateSynchronizationEvent(NULL, handle), 1024)
    return query_name(bodies[kind](), 1024)


# Permanence

MISSING = STATUS_OBJECT_NAME_NOT_FOUND
PATH = "\\BaseNamedObjects\\wine_test_dir"


@PERMANENT.fact(lambda flags: [STATUS_SUCCESS, 0 if flags else MISSING], flags=[0, OBJ_PERMANENT])
def an_object_outlives_its_last_handle_only_if_it_is_permanent(flags: int) -> list[int]:
    status, handle = directory(PATH, OBJ_KERNEL_HANDLE | flags)
    ZwClose(handle)
    return [status, open_directory(PATH)]


@PERMANENT.fact([STATUS_SUCCESS, STATUS_SUCCESS, MISSING])
def a_permanent_object_that_is_made_temporary_goes_with_its_last_handle() -> list[int]:
    _, handle = directory(PATH, OBJ_KERNEL_HANDLE | OBJ_PERMANENT)
    found = [ZwMakeTemporaryObject(handle), ZwMakeTemporaryObject(handle)]
    ZwClose(handle)
    return [*found, open_directory(PATH)]


@PERMANENT.fact([STATUS_SUCCESS, MISSING])
def opening_with_OBJ_PERMANENT_makes_nothing_permanent() -> list[int]:
    _, handle = directory(PATH)
    second = HANDLE()
    flags = OBJ_KERNEL_HANDLE | OBJ_PERMANENT
    found = [ZwOpenDirectoryObject(second, DIRECTORY_QUERY, attributes(PATH, flags))]
    ZwClose(second[0])
    ZwClose(handle)
    return [*found, open_directory(PATH)]


# Symbolic links

LINK_NAME = "\\Device\\ObSymbolicLinkKmtest"
TARGET = "\\Device\\NamedPipe"
LENGTH = 2 * len(TARGET)


def open_link() -> tuple[int, int]:
    handle = HANDLE()
    handle[0] = 0x1234
    status = ZwOpenSymbolicLinkObject(handle, SYMBOLIC_LINK_QUERY, attributes(LINK_NAME))
    return status, int(handle[0])


def create_link(target: Any) -> tuple[int, int]:
    handle = HANDLE()
    handle[0] = 0x1234
    status = ZwCreateSymbolicLinkObject(handle, SYMBOLIC_LINK_QUERY, attributes(LINK_NAME), target)
    return status, int(handle[0])


@LINK.fact([(MISSING, 0), STATUS_SUCCESS, STATUS_SUCCESS, (MISSING, 0)])
def a_link_lives_as_long_as_its_handles() -> list[Any]:
    found: list[Any] = [open_link()]
    status, first = create_link(UNICODE_STRING(TARGET))
    found.append(status)
    status, second = open_link()
    found.append(status)
    ZwClose(second)
    ZwClose(first)
    return [*found, open_link()]


def target_of(room: int | None, asks: bool) -> list[Any]:
    """Query the link's target into `room` bytes; None is no buffer at all."""
    _, handle = open_link()
    block = ExAllocatePoolWithTag(NonPagedPool, 64, TAG)
    RtlFillMemory(block, 64, 0x55)
    string, length = UNICODE_STRING(), ULONG()
    string.Buffer = NULL if room is None else block
    string.Length, string.MaximumLength = 0, room or 0
    status = ZwQuerySymbolicLinkObject(handle, string, length if asks else NULL)
    read = read_bytes(block, string.Length).decode("utf-16-le")
    after = int.from_bytes(read_bytes(block + string.Length, 2), "little")
    return [status, read, after, length[0] if asks else None]


TOO_SMALL = STATUS_BUFFER_TOO_SMALL
NUL = 0
UNTOUCHED = 0x5555


@LINK.fact(
    lambda room, asks: (
        [TOO_SMALL, "", UNTOUCHED, LENGTH + 2 if asks else None]
        if room is None or room < LENGTH + (2 if asks else 0)
        else [STATUS_SUCCESS, TARGET, NUL if asks else UNTOUCHED, LENGTH + 2 if asks else None]
    ),
    room=[None, LENGTH - 1, LENGTH, LENGTH + 1, LENGTH + 2, 64], asks=[True, False],
)  # fmt: skip
def a_target_needs_room_for_its_terminator_only_when_its_length_is_asked_for(
    room: int | None, asks: bool
) -> list[Any]:
    create_link(UNICODE_STRING(TARGET))
    return target_of(room, asks)


@LINK.fact([STATUS_SUCCESS, [STATUS_SUCCESS, TARGET, UNTOUCHED, LENGTH]])
def a_target_that_was_given_without_terminator_is_told_without() -> list[Any]:
    target = UNICODE_STRING(TARGET)
    target.MaximumLength = target.Length
    status, _ = create_link(target)
    return [status, target_of(LENGTH, True)]


@LINK.fact([0xC0000005, 0x1234, (MISSING, 0)])
def a_link_to_a_string_without_buffer_is_not_made() -> list[Any]:
    target = UNICODE_STRING(TARGET)
    target.Buffer = NULL
    status, handle = create_link(target)
    return [status, handle, open_link()]


# Queries, waits and types


@QUERY.fact([STATUS_INFO_LENGTH_MISMATCH, STATUS_SUCCESS, True, True])
def basic_information_needs_its_whole_structure() -> list[Any]:
    handle = HANDLE()
    ZwOpenDirectoryObject(handle, DIRECTORY_QUERY, attributes("\\Device"))
    block = ExAllocatePoolWithTag(NonPagedPool, 56, TAG)
    found: list[Any] = [ZwQueryObject(handle[0], ObjectBasicInformation, block, 0, NULL)]
    found.append(ZwQueryObject(handle[0], ObjectBasicInformation, block, 56, NULL))
    counts = [int.from_bytes(read_bytes(block + at, 4), "little") for at in (8, 12)]
    return [*found, counts[0] > 0, counts[1] > 0]


@WAIT.fact(0xC0000005)
def ZwWaitForMultipleObjects_of_handles_that_cannot_be_read_is_an_access_violation() -> int:
    found = []

    def routine(context: Any) -> None:
        def call() -> int:
            return ZwWaitForMultipleObjects(2, 0x42424242, WaitAll, FALSE, NULL)

        status = raised(lambda: found.append(call()))
        if status:
            found.append(status)

    wait(start(routine), large(-10_000_000))
    return found[0]


MAPPINGS = {
    "Directory": (0x020003, 0x02000C, 0x020003, 0x0F000F, 0x0F000F),
    "SymbolicLink": (0x020001, 0x020000, 0x020001, 0x0F0001, None),
    "Event": (0x020001, 0x020002, 0x120000, 0x1F0003, 0x1F0003),
    "Mutant": (0x020001, 0x020000, 0x120000, 0x1F0001, 0x1F0001),
    "Callback": (0x020000, 0x020001, 0x120000, 0x1F0001, 0x1F0001),
    "Semaphore": (0x020001, 0x020002, 0x120000, 0x1F0003, 0x1F0003),
    "Section": (0x020005, 0x020002, 0x020008, 0x0F001F, 0x1F001F),
    "Key": (0x020019, 0x020006, 0x020019, 0x0F003F, 0x1F003F),
    "Device": (0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF),
    "Driver": (0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF),
    "File": (0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF),
    "WindowStation": (0x020303, 0x02001C, 0x020060, 0x0F037F, 0x0F037F),
    "Desktop": (0x020041, 0x0200BE, 0x020100, 0x0F01FF, 0x0F01FF),
    "Adapter": (0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF),
    "Controller": (0x120089, 0x120116, 0x1200A0, 0x1F01FF, 0x1F01FF),
}
"""Read, write, execute, all, valid accesses; None where later versions have more."""


@TYPES.fact(
    lambda name: [STATUS_SUCCESS, name, True, list(MAPPINGS[name][:4]), MAPPINGS[name][4]],
    name=list(MAPPINGS),
)
def a_type_is_an_object_that_says_what_generic_rights_mean(name: str) -> list[Any]:
    handle = HANDLE()
    status = ObOpenObjectByName(
        attributes(f"\\ObjectTypes\\{name}"), NULL, KernelMode, NULL, 0, NULL, handle
    )
    kind = cast(reference(int(handle[0]))[1], POBJECT_TYPE)
    info = kind.TypeInfo
    mapping = info.GenericMapping
    rights = [mapping.GenericRead, mapping.GenericWrite, mapping.GenericExecute, mapping.GenericAll]
    highest = kind.HighWaterNumberOfObjects >= kind.TotalNumberOfObjects
    valid = info.ValidAccessMask if MAPPINGS[name][4] is not None else None
    return [status, text_of(kind.Name), highest, rights, valid]


VARIABLES = {
    "ExDesktopObjectType": "Desktop", "ExWindowStationObjectType": "WindowStation",
    "IoAdapterObjectType": "Adapter", "PsJobType": "Job", "ExEventObjectType": "Event",
    "MmSectionObjectType": "Section", "CmKeyObjectType": "Key",
}  # fmt: skip


@TYPES.fact(dict(VARIABLES))
def exported_variables_are_the_types_of_their_names() -> dict[str, str]:
    return {
        name: text_of(cast(globals()[name][0], POBJECT_TYPE).Name) for name in VARIABLES
    }  # fmt: skip


@TYPES.fact(0)
def the_type_of_device_handlers_is_exported_and_was_never_made() -> int:
    return int(IoDeviceHandlerObjectType[0])


# A driver's own types


class Calls:
    """How often each procedure of a type was called."""

    def __init__(self, driver_type: str) -> None:
        self.counts = dict.fromkeys(("Open", "Close", "Delete", "Parse", "OkayToClose"), 0)
        made = self.initializer = OBJECT_TYPE_INITIALIZER()
        made.Length, made.PoolType = OBJECT_TYPE_INITIALIZER.size, NonPagedPool
        made.ObjectTypeFlags, made.ValidAccessMask = 0x10, 0xF0001
        self.name = UNICODE_STRING(driver_type)

    def count(self, name: str, result: int) -> Any:
        def procedure(*arguments: Any) -> int:
            self.counts[name] += 1
            return result

        return procedure

    def create(self) -> tuple[int, int]:
        status, kind = ObCreateObjectType(self.name, self.initializer, NULL)
        return status, int(kind)

    def with_procedures(self) -> tuple[int, int]:
        for name in self.counts:
            result = int(name == "OkayToClose")
            setattr(self.initializer, f"{name}Procedure", self.count(name, result))
        return self.create()


def counts_of(handle: int) -> tuple[int, int]:
    """Pointers and handles as ZwQueryObject tells them, with a reference of its own."""
    block = ExAllocatePoolZero(NonPagedPool, 0x38, TAG)
    assert ZwQueryObject(handle, 0, block, 0x38, NULL) == STATUS_SUCCESS
    handles, pointers = cast(block + 8, PULONG)[0], cast(block + 12, PULONG)[0]
    ExFreePool(block)
    return pointers, handles


def directory_of_objects() -> int:
    flags = OBJ_KERNEL_HANDLE | OBJ_PERMANENT | OBJ_CASE_INSENSITIVE
    return directory("\\ObtDirectory", flags)[1]


@OWN_TYPES.fact([STATUS_INVALID_PARAMETER, STATUS_SUCCESS, True])
def a_type_that_counts_handles_needs_a_procedure() -> list[Any]:
    calls = Calls("MyObjectType0")
    refused = calls.create()[0]
    status, kind = calls.with_procedures()
    return [refused, status, kind != 0]


@OWN_TYPES.fact([(3, 1), (3, 1), (4, 1), (5, 1), (3, 1), (3, 1), 1, 1])
def an_inserted_object_has_a_reference_by_handle_and_one_by_name() -> list[Any]:
    calls, home = Calls("MyObjectType1"), directory_of_objects()
    kind, seen, handles = calls.with_procedures()[1], [counts_of(home)], []
    bodies = []
    for i in (1, 2):
        name = attributes(f"\\ObtDirectory\\MyObject{i}", OBJ_CASE_INSENSITIVE)
        rest = (KernelMode, NULL, 44, 0, 0)
        bodies.append(ObCreateObject(KernelMode, kind, name, *rest)[1])
    seen.append(counts_of(home))
    for body in bodies:
        handle = HANDLE()
        ObInsertObject(body, NULL, STANDARD_RIGHTS_ALL, 0, NULL, handle)
        handles.append(handle[0])
        seen.append(counts_of(home))
    seen += [counts_of(handle) for handle in handles]
    opened = calls.counts["Open"] - 1
    for handle in handles:
        ZwClose(handle)
    return [*seen, opened, calls.counts["Close"] - 1]


@OWN_TYPES.fact([(4, 1), 2, (3, 1), {"Open": 1, "Close": 1, "Delete": 1, "Parse": 0,
                                     "OkayToClose": 1}])  # fmt: skip
def closing_the_handle_calls_each_procedure_once() -> list[Any]:
    calls = Calls("MyObjectType2")
    kind = calls.with_procedures()[1]
    directory_of_objects()
    name = attributes("\\ObtDirectory\\MyObject1", OBJ_CASE_INSENSITIVE)
    body = ObCreateObject(KernelMode, kind, name, KernelMode, NULL, 4, 0, 0)[1]
    handle = HANDLE()
    ObInsertObject(body, NULL, GENERIC_ALL, 0, NULL, handle)
    ObReferenceObject(body)
    seen: list[Any] = [counts_of(handle[0]), ObDereferenceObject(body), counts_of(handle[0])]
    ZwClose(handle[0])
    return [*seen, calls.counts]


@OWN_TYPES.fact([(3, 1), (3, 1)])
def a_directory_made_temporary_keeps_its_name_until_it_is_closed() -> list[Any]:
    home = directory_of_objects()
    before = counts_of(home)
    ZwMakeTemporaryObject(home)
    after = counts_of(home)
    ZwClose(home)
    assert open_directory("\\ObtDirectory") == STATUS_OBJECT_NAME_NOT_FOUND
    return [before, after]


test_fact = as_tests(
    REFERENCE, WINE_REFERENCE, HANDLES, NAME, PERMANENT, LINK, QUERY, WAIT, TYPES, OWN_TYPES
)  # fmt: skip
