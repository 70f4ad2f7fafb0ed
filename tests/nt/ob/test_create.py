"""A driver's own object types. What the kernel test suite asserts is in the facts."""

from ntsim.wdm import *

TAG_NAME = "Widget"


def initializer(flags=0, pool=NonPagedPool, **procedures):
    made = OBJECT_TYPE_INITIALIZER()
    made.Length, made.ObjectTypeFlags = OBJECT_TYPE_INITIALIZER.size, flags
    made.PoolType, made.ValidAccessMask = pool, 0x1F0003
    made.GenericMapping.GenericRead, made.GenericMapping.GenericAll = 1, 0x1F0003
    for name, routine in procedures.items():
        setattr(made, f"{name}Procedure", routine)
    return made


def new_type(name=TAG_NAME, **arguments):
    return ObCreateObjectType(UNICODE_STRING(name), initializer(**arguments), NULL)


def attributes(name=None, flags=OBJ_KERNEL_HANDLE):
    made = OBJECT_ATTRIBUTES()
    text = UNICODE_STRING(name) if name else NULL
    InitializeObjectAttributes(made, text, flags, NULL, NULL)
    return made


def new_object(kind, name=None, size=32, flags=OBJ_KERNEL_HANDLE):
    of = attributes(name, flags)
    return ObCreateObject(KernelMode, kind, of, KernelMode, NULL, size, 0, 0)


def insert(body, access=GENERIC_ALL, bias=0):
    """(status, handle)"""
    handle = HANDLE()
    return ObInsertObject(body, NULL, access, bias, NULL, handle), handle[0]


def test_a_handle_to_an_own_object_is_referenced_waited_for_and_closed(value_of) -> None:
    def body():
        seen = []
        _, kind = new_type(Delete=lambda Object: seen.append("deleted"))
        _, widget = new_object(kind, size=KEVENT.size)
        KeInitializeEvent(cast(widget, PKEVENT), NotificationEvent, TRUE)
        status, handle = insert(widget)
        found = ObReferenceObjectByHandle(handle, 3, kind, KernelMode, NULL)
        wrong = ObReferenceObjectByHandle(handle, 0, ExEventObjectType[0], KernelMode, NULL)[0]
        ObDereferenceObject(found[1])
        waited = ZwWaitForSingleObject(handle, FALSE, NULL)
        before = list(seen)
        ZwClose(handle)
        return status, found == (0, widget), wrong, waited, before, seen

    assert value_of(body) == (0, True, STATUS_OBJECT_TYPE_MISMATCH, 0, [], ["deleted"])


def test_an_own_object_has_a_block_with_its_types_name_as_tag(value_of) -> None:
    def body():
        _, kind = new_type()
        _, widget = new_object(kind)
        return read_bytes(widget - 0x30 - 0x20 - 0x10 + 4, 4)

    assert value_of(body) == b"Widg"


def test_a_name_leads_to_the_object_while_a_handle_is_open(value_of) -> None:
    def body():
        _, kind = new_type()
        name = "\\BaseNamedObjects\\TheWidget"
        _, handle = insert(new_object(kind, name)[1])
        first = ObReferenceObjectByName(UNICODE_STRING(name), 0, NULL, 0, kind, KernelMode, NULL)
        ObDereferenceObject(first[1])
        clash = insert(new_object(kind, name)[1])
        again = insert(new_object(kind, name, flags=OBJ_KERNEL_HANDLE | OBJ_OPENIF)[1])
        ZwClose(again[1])
        ZwClose(handle)
        gone = ObReferenceObjectByName(UNICODE_STRING(name), 0, NULL, 0, kind, KernelMode, NULL)
        return first[0], clash, again[0], gone[0], cast(kind, POBJECT_TYPE).TotalNumberOfObjects

    assert value_of(body) == (
        STATUS_SUCCESS, (STATUS_OBJECT_NAME_COLLISION, 0), STATUS_OBJECT_NAME_EXISTS,
        STATUS_OBJECT_NAME_NOT_FOUND, 0,
    )  # fmt: skip


def test_an_open_procedure_may_refuse_a_handle_and_cut_its_rights(value_of) -> None:
    def body():
        calls = []

        def opening(Reason, AccessMode, Process, Object, GrantedAccess, HandleCount):
            access = cast(GrantedAccess, PULONG)
            calls.append((Reason, access[0], HandleCount))
            access[0] &= 1
            return STATUS_SUCCESS if len(calls) < 3 else STATUS_ACCESS_DENIED

        def closing(Process, Object, ProcessHandleCount, SystemHandleCount):
            calls.append((ProcessHandleCount, SystemHandleCount))

        counting = 0x10
        _, kind = new_type(flags=counting, Open=opening, Close=closing)
        _, widget = new_object(kind)
        _, handle = insert(widget)
        rest = (NULL, 3, kind, KernelMode)
        second = ObOpenObjectByPointer(widget, OBJ_KERNEL_HANDLE, *rest)
        third = ObOpenObjectByPointer(widget, OBJ_KERNEL_HANDLE, *rest)
        ZwClose(second[1])
        ZwClose(handle)
        return second[0], third, calls

    second, third, calls = value_of(body)
    assert (second, third) == (STATUS_SUCCESS, (STATUS_ACCESS_DENIED, 0))
    assert calls == [(0, 0x1F0003, 1), (1, 3, 2), (1, 3, 3), (2, 2), (1, 1)]


def test_okay_to_close_keeps_a_handle_open(value_of) -> None:
    def body():
        allowed = []
        _, kind = new_type(OkayToClose=lambda Process, Object, Handle, Mode: len(allowed))
        _, handle = insert(new_object(kind)[1])
        first = ZwClose(handle)
        allowed.append(True)
        return first, ZwClose(handle), ZwClose(handle)

    assert value_of(body) == (STATUS_HANDLE_NOT_CLOSABLE, STATUS_SUCCESS, STATUS_INVALID_HANDLE)


def test_a_parse_procedure_finds_what_lies_behind_a_name(value_of) -> None:
    def body():
        inner, seen = [], []

        def parse(ParseObject, ObjectType, State, Mode, Attributes, Complete, Rest, *others):
            out = others[2]
            text = cast(Rest, PUNICODE_STRING)
            seen.append(read_bytes(int(text.Buffer), text.Length).decode("utf-16-le"))
            if seen[-1] != "\\one":
                return STATUS_OBJECT_NAME_NOT_FOUND
            ObReferenceObject(inner[0])
            cast(out, PULONGLONG)[0] = inner[0]
            return STATUS_SUCCESS

        _, kind = new_type(Parse=parse)
        inner.append(new_object(kind)[1])
        _, handle = insert(new_object(kind, "\\Shelf")[1])

        def find(name):
            path = UNICODE_STRING(name)
            return ObReferenceObjectByName(path, 0, NULL, 0, kind, KernelMode, NULL)

        found, missing = find("\\Shelf\\one"), find("\\Shelf\\two")
        opened = ObOpenObjectByName(attributes("\\Shelf\\one"), kind, KernelMode, NULL, 1, NULL)
        ZwClose(opened[1])
        ZwClose(handle)
        return found == (0, inner[0]), missing[0], opened[0], seen

    assert value_of(body) == (
        True, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS, ["\\one", "\\two", "\\one"],
    )  # fmt: skip


def test_a_type_that_wants_security_gives_its_objects_the_default(value_of) -> None:
    def body():
        _, kind = new_type(flags=8)
        seen = []
        for wanted in (kind, new_type("Plain")[1]):
            _, widget = new_object(wanted)
            insert(widget)
            descriptor, allocated = ObGetObjectSecurity(widget)[1:]
            seen.append(bool(descriptor))
            ObReleaseObjectSecurity(descriptor, allocated)
        return seen

    assert value_of(body) == [True, False]


def test_initializers_that_cannot_be_are_refused(value_of) -> None:
    def body():
        wrong = initializer()
        wrong.Length -= 1
        name = UNICODE_STRING("Widget")
        statuses = [
            ObCreateObjectType(name, wrong, NULL)[0],
            ObCreateObjectType(NULL, initializer(), NULL)[0],
            ObCreateObjectType(UNICODE_STRING(""), initializer(), NULL)[0],
            new_type(pool=PagedPool)[0],
            new_type(name="a\\b")[0],
            new_type(name="event")[0],
            new_type(flags=4, pool=PagedPool)[0],
        ]
        return statuses

    assert value_of(body) == [
        *[STATUS_INVALID_PARAMETER] * 4, STATUS_OBJECT_NAME_INVALID, STATUS_OBJECT_NAME_COLLISION,
        STATUS_SUCCESS,
    ]  # fmt: skip


def test_an_object_is_inserted_once(value_of) -> None:
    def body():
        _, kind = new_type()
        _, widget = new_object(kind)
        _, handle = insert(widget)
        ObReferenceObject(widget)
        return insert(widget), ZwClose(handle)

    assert value_of(body) == ((STATUS_INVALID_PARAMETER, 0), STATUS_SUCCESS)


def test_a_procedure_written_into_a_system_type_is_called(value_of) -> None:
    def body():
        seen = []

        def closing(Process, Object, ProcessHandleCount, SystemHandleCount):
            seen.append(SystemHandleCount)

        kind = cast(ExEventObjectType[0], POBJECT_TYPE)
        kind.TypeInfo.CloseProcedure = closing
        _, handle = ZwCreateEvent(EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE)
        ZwClose(handle)
        kind.TypeInfo.CloseProcedure = NULL
        return seen

    assert value_of(body) == [1]
