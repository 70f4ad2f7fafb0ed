"""Callbacks around handles to processes and threads.

Source: WDK ObRegisterCallbacks, OB_PRE_OPERATION_INFORMATION, OB_POST_OPERATION_INFORMATION.
"""

from ntsim.wdm import *

PROCESS_TERMINATE, PROCESS_VM_READ = 1, 0x10


def registration(altitude: str, pre, post=NULL, operations: int = 3, kind: int = 0):
    """An OB_CALLBACK_REGISTRATION for processes."""
    types, made = PVOID(), OB_CALLBACK_REGISTRATION()
    entry = OB_OPERATION_REGISTRATION()
    types[0] = kind or PsProcessType[0]
    entry.ObjectType, entry.Operations = types, operations
    entry.PreOperation, entry.PostOperation = pre, post
    made.Version, made.OperationRegistrationCount = OB_FLT_REGISTRATION_VERSION, 1
    RtlInitUnicodeString(made.Altitude, altitude)
    made.RegistrationContext, made.OperationRegistration = 0x77, entry
    return made


def open_self(access: int) -> tuple[int, int]:
    """(status, handle) of the current process, by id."""
    client, attributes = CLIENT_ID(), OBJECT_ATTRIBUTES()
    client.UniqueProcess = PsGetCurrentProcessId()
    InitializeObjectAttributes(attributes, NULL, 0, NULL, NULL)
    return ZwOpenProcess(access, attributes, client)


def granted(handle: int) -> int:
    block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x38, 1)
    ZwQueryObject(handle, 0, block, 0x38, NULL)
    return cast(block + 4, PULONG)[0]


def test_a_callback_takes_a_right_away_and_cannot_add_one(value_of) -> None:
    def body() -> list:
        seen = []

        def pre(Context, Information) -> int:
            info = cast(Information, POINTER(OB_PRE_OPERATION_INFORMATION))
            wanted = info.Parameters.CreateHandleInformation
            seen.append((Context, info.Operation, info.Object == PsGetCurrentProcess()))
            seen.append((wanted.OriginalDesiredAccess, info.ObjectType == PsProcessType[0]))
            wanted.DesiredAccess = wanted.DesiredAccess & ~PROCESS_TERMINATE | 0x400
            info.CallContext = 0x55
            return OB_PREOP_SUCCESS

        def post(Context, Information) -> None:
            info = cast(Information, POINTER(OB_POST_OPERATION_INFORMATION))
            access = info.Parameters.CreateHandleInformation.GrantedAccess
            seen.append((info.CallContext, info.ReturnStatus, access))

        Status, Registration = ObRegisterCallbacks(registration("370030", pre, post))
        _, Handle = open_self(PROCESS_TERMINATE | PROCESS_VM_READ)
        seen.append((Status, granted(Handle)))
        ObUnRegisterCallbacks(Registration)
        _, Handle = open_self(PROCESS_TERMINATE)
        return [*seen, granted(Handle)]

    assert value_of(body) == [
        (0x77, OB_OPERATION_HANDLE_CREATE, True), (0x11, True), (0x55, 0, 0x10), (0, 0x10), 1,
    ]  # fmt: skip


def test_duplicates_are_announced_with_both_processes(value_of) -> None:
    def body() -> list:
        seen = []

        def pre(Context, Information) -> int:
            info = cast(Information, POINTER(OB_PRE_OPERATION_INFORMATION))
            made = info.Parameters.DuplicateHandleInformation
            same = made.SourceProcess == made.TargetProcess == PsGetCurrentProcess()
            seen.append((info.Operation, same))
            made.DesiredAccess &= ~PROCESS_TERMINATE
            return OB_PREOP_SUCCESS

        _, Handle = open_self(PROCESS_TERMINATE | PROCESS_VM_READ)
        both = registration("1", pre, NULL, OB_OPERATION_HANDLE_DUPLICATE)
        _, Registration = ObRegisterCallbacks(both)
        me, copy = (1 << 64) - 1, HANDLE()
        seen.append(ZwDuplicateObject(me, Handle, me, copy, 0, 0, 2))
        ObUnRegisterCallbacks(Registration)
        return [*seen, granted(copy[0])]

    assert value_of(body) == [(OB_OPERATION_HANDLE_DUPLICATE, True), 0, PROCESS_VM_READ]


def test_higher_altitudes_are_called_first_and_last(value_of) -> None:
    def body() -> list:
        seen = []
        made = []
        for altitude in ("40000", "320000", "9.5"):

            def pre(Context, Information, name=altitude) -> int:
                seen.append("pre " + name)
                return OB_PREOP_SUCCESS

            def post(Context, Information, name=altitude) -> None:
                seen.append("post " + name)

            made.append(ObRegisterCallbacks(registration(altitude, pre, post))[1])
        open_self(PROCESS_VM_READ)
        for each in made:
            ObUnRegisterCallbacks(each)
        return seen

    assert value_of(body) == [
        "pre 320000", "pre 40000", "pre 9.5", "post 9.5", "post 40000", "post 320000",
    ]  # fmt: skip


def test_registrations_that_cannot_be(value_of) -> None:
    def body() -> list:
        def pre(Context, Information) -> int:
            return OB_PREOP_SUCCESS

        Status, Registration = ObRegisterCallbacks(registration("100", pre))
        found = [Status, ObRegisterCallbacks(registration("100.0", pre))[0]]
        wrong = registration("101", pre)
        wrong.Version = 0x200
        found += [ObRegisterCallbacks(wrong)[0], ObRegisterCallbacks(registration("1", 0))[0]]
        found += [ObRegisterCallbacks(registration("2", pre, NULL, 0))[0]]
        event = registration("3", pre, NULL, 3, ExEventObjectType[0])
        found += [ObRegisterCallbacks(event)[0], ObGetFilterVersion()]
        ObUnRegisterCallbacks(Registration)
        return found

    bad = STATUS_INVALID_PARAMETER
    assert value_of(body) == [
        0, STATUS_FLT_INSTANCE_ALTITUDE_COLLISION, bad, bad, bad, bad, 0x100,
    ]  # fmt: skip
