"""Who may open a device.

Source: WDK WdmlibIoCreateDeviceSecure, "SDDL for Device Objects", "Controlling Device Namespace
Access"; WDK IoCreateFile; ReactOS ntoskrnl/io/iomgr/file.c.
"""

import pytest

from ntsim import win32
from ntsim.nt.se.sddl import parse_sddl
from ntsim.wdm import *

READ, WRITE = win32.GENERIC_READ, win32.GENERIC_WRITE


def driver(sddl: str | None, characteristics: int = 0, seen: list | None = None):
    """A DriverEntry whose device \\\\.\\Safe has the descriptor; None: IoCreateDevice."""

    def create(DeviceObject, Irp) -> int:
        if seen is not None:
            stack = IoGetCurrentIrpStackLocation(Irp)
            state = stack.Parameters.Create.SecurityContext.AccessState
            token = SeQuerySubjectContextToken(state.SubjectSecurityContext)
            rights = (state.PreviouslyGrantedAccess, state.RemainingDesiredAccess)
            seen.append((*map(hex, rights), SeTokenIsAdmin(token)))
        Irp.IoStatus.Status, Irp.IoStatus.Information = STATUS_SUCCESS, FILE_OPENED
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def DriverEntry(DriverObject, RegistryPath) -> int:
        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = create if not major else succeed
        name = UNICODE_STRING("\\Device\\Safe")
        arguments = (DriverObject, 0, name, FILE_DEVICE_UNKNOWN, characteristics, FALSE)
        if sddl is None:
            status, _ = IoCreateDevice(*arguments)
        else:
            status, _ = IoCreateDeviceSecure(*arguments, UNICODE_STRING(sddl), NULL)
        IoCreateSymbolicLink(UNICODE_STRING("\\DosDevices\\Safe"), name)
        return status

    return DriverEntry


def succeed(DeviceObject, Irp) -> int:
    Irp.IoStatus.Status = STATUS_SUCCESS
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return STATUS_SUCCESS


def opens(access: int, user: bool, name: str = "\\\\.\\Safe") -> int:
    """An app's open, as an administrator or as a standard user: 0, or the Windows error."""
    if user:
        mine = win32.OpenProcessToken(win32.GetCurrentProcess(), win32.TOKEN_ALL_ACCESS)
        win32.ImpersonateLoggedOnUser(win32.CreateRestrictedToken(mine, win32.LUA_TOKEN))
    try:
        win32.CreateFile(name, access, 0, None, win32.OPEN_EXISTING, 0, None).Close()
    except win32.error as error:
        return error.winerror
    return 0


def outcome(ntsim_machine, entry, *arguments) -> int:
    machine, results = ntsim_machine(processors=1), []
    machine.load_driver(entry, name="drv.sys")
    machine.run(lambda: results.append(opens(*arguments)), name="app.exe")
    return results[0]


ADM_ALL = "D:P(A;;GA;;;SY)(A;;GA;;;BA)"
WORLD_R = "D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GR;;;WD)"


@pytest.mark.parametrize(
    ("sddl", "access", "user", "error"),
    [
        (None, READ | WRITE, True, 0),
        (ADM_ALL, READ | WRITE, False, 0),
        (ADM_ALL, READ, True, win32.ERROR_ACCESS_DENIED),
        (ADM_ALL, 0, True, win32.ERROR_ACCESS_DENIED),
        (WORLD_R, READ, True, 0),
        (WORLD_R, READ | WRITE, True, win32.ERROR_ACCESS_DENIED),
        (WORLD_R, READ | WRITE, False, 0),
        ("D:P(A;;GA;;;SY)", READ, False, win32.ERROR_ACCESS_DENIED),
        ("D:P", READ, False, win32.ERROR_ACCESS_DENIED),
    ],
)
def test_a_device_opens_for_whom_its_descriptor_names(
    ntsim_machine, sddl, access: int, user: bool, error: int
) -> None:
    assert outcome(ntsim_machine, driver(sddl), access, user) == error


def test_names_behind_a_device_are_protected_by_secure_open_only(ntsim_machine) -> None:
    inside = (READ, True, "\\\\.\\Safe\\door")
    assert outcome(ntsim_machine, driver(ADM_ALL), *inside) == 0
    secure = driver(ADM_ALL, FILE_DEVICE_SECURE_OPEN)
    assert outcome(ntsim_machine, secure, *inside) == win32.ERROR_ACCESS_DENIED


def test_a_text_that_is_no_sddl_makes_no_device(run_driver, ntsim_machine) -> None:
    def body(DriverObject) -> list:
        name = UNICODE_STRING("\\Device\\Safe")
        bad = IoCreateDeviceSecure(
            DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE, UNICODE_STRING("D:P(nobody)"), 0
        )
        unnamed = IoCreateDeviceSecure(
            DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, UNICODE_STRING(ADM_ALL), 0
        )
        return [bad, unnamed, DriverObject.DeviceObject]

    invalid = (STATUS_INVALID_PARAMETER, 0)
    assert run_driver(body).value == [invalid, invalid, 0]


def test_a_create_request_carries_who_opens_and_what_was_granted(ntsim_machine) -> None:
    seen: list = []
    assert outcome(ntsim_machine, driver(WORLD_R, 0, seen), READ, True) == 0
    assert outcome(ntsim_machine, driver(WORLD_R, 0, seen), READ | WRITE, False) == 0
    assert seen == [("0x120089", "0x0", False), ("0x12019f", "0x0", True)]


def test_maximum_allowed_is_what_the_descriptor_grants(ntsim_machine) -> None:
    seen: list = []
    outcome(ntsim_machine, driver(WORLD_R, 0, seen), win32.MAXIMUM_ALLOWED, True)
    assert seen[0][0] == "0x120089"


def test_the_administrator_may_override_the_descriptor_of_a_class(ntsim_machine) -> None:
    guid_text = "{11111111-2222-3333-4444-555555555555}"
    key = f"\\Registry\\Machine\\System\\CurrentControlSet\\Control\\Class\\{guid_text}"

    def DriverEntry(DriverObject, RegistryPath) -> int:
        attributes = OBJECT_ATTRIBUTES()
        for end in (key, key + "\\Properties"):
            text = UNICODE_STRING(end)
            InitializeObjectAttributes(attributes, text, OBJ_KERNEL_HANDLE, NULL, NULL)
            status, handle = ZwCreateKey(KEY_ALL_ACCESS, attributes, 0, NULL, 0, NULL)
            assert status == 0
        data = parse_sddl("D:P")
        block = ExAllocatePoolWithTag(NonPagedPoolNx, len(data), 1)
        write_bytes(block, data)
        ZwSetValueKey(handle, UNICODE_STRING("Security"), 0, REG_BINARY, block, len(data))
        guid, name = GUID(), UNICODE_STRING("\\Device\\Safe")
        assert RtlGUIDFromString(UNICODE_STRING(guid_text), guid) == 0
        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = succeed
        status, _ = IoCreateDeviceSecure(
            DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE, UNICODE_STRING(ADM_ALL), guid
        )
        IoCreateSymbolicLink(UNICODE_STRING("\\DosDevices\\Safe"), name)
        return status

    assert outcome(ntsim_machine, DriverEntry, READ, False) == win32.ERROR_ACCESS_DENIED


def test_iocreatefile_tells_what_became_of_the_open(run_driver) -> None:
    def body(DriverObject) -> list:
        driver(ADM_ALL)(DriverObject, NULL)
        DriverObject.DeviceObject.Flags &= ~DO_DEVICE_INITIALIZING
        attributes, block = OBJECT_ATTRIBUTES(), IO_STATUS_BLOCK()
        name = UNICODE_STRING("\\Device\\Safe")
        InitializeObjectAttributes(attributes, name, OBJ_KERNEL_HANDLE, NULL, NULL)

        def create(options: int, share: int = 0, kind: int = 0) -> int:
            status, handle = IoCreateFile(
                SYNCHRONIZE | FILE_READ_DATA, attributes, block, NULL, 0, share, FILE_OPEN, 0,
                NULL, 0, kind, NULL, options,
            )  # fmt: skip
            if NT_SUCCESS(status):
                ZwClose(handle)
            return status

        found = [create(0), block.Status, block.Information]
        found += [create(0, share=8), create(IO_CHECK_CREATE_PARAMETERS, share=8)]
        return [*found, create(0, kind=1), create(IO_FORCE_ACCESS_CHECK)]

    bad = STATUS_INVALID_PARAMETER
    assert run_driver(body).value == [0, 0, FILE_OPENED, 0, bad, bad, 0]


def test_a_forced_check_asks_the_descriptor_in_kernel_mode_too(run_driver) -> None:
    def body(DriverObject) -> list:
        driver("D:P")(DriverObject, NULL)
        DriverObject.DeviceObject.Flags &= ~DO_DEVICE_INITIALIZING
        attributes, block = OBJECT_ATTRIBUTES(), IO_STATUS_BLOCK()
        name = UNICODE_STRING("\\Device\\Safe")
        found = []
        for flags in (OBJ_KERNEL_HANDLE, OBJ_KERNEL_HANDLE | OBJ_FORCE_ACCESS_CHECK):
            InitializeObjectAttributes(attributes, name, flags, NULL, NULL)
            found.append(ZwOpenFile(FILE_READ_DATA, attributes, block, 0, 0)[0])
        return found

    assert run_driver(body).value == [0, STATUS_ACCESS_DENIED]


def test_a_name_can_be_relative_to_an_open_file(run_driver) -> None:
    names: list[str] = []

    def create(DeviceObject, Irp) -> int:
        file = IoGetCurrentIrpStackLocation(Irp).FileObject
        text = file.FileName
        names.append(read_bytes(text.Buffer, text.Length).decode("utf-16-le"))
        names.append(bool(file.RelatedFileObject))
        return succeed(DeviceObject, Irp)

    def body(DriverObject) -> list:
        driver(ADM_ALL)(DriverObject, NULL)
        DriverObject.MajorFunction[IRP_MJ_CREATE] = create
        DriverObject.DeviceObject.Flags &= ~DO_DEVICE_INITIALIZING
        attributes, block = OBJECT_ATTRIBUTES(), IO_STATUS_BLOCK()
        root = UNICODE_STRING("\\Device\\Safe\\dir")
        InitializeObjectAttributes(attributes, root, OBJ_KERNEL_HANDLE, NULL, NULL)
        _, handle = ZwOpenFile(FILE_READ_DATA, attributes, block, 0, 0)
        name = UNICODE_STRING("file")
        InitializeObjectAttributes(attributes, name, OBJ_KERNEL_HANDLE, handle, NULL)
        status, second = ZwOpenFile(FILE_READ_DATA, attributes, block, 0, 0)
        ZwClose(second)
        ZwClose(handle)
        return status

    assert run_driver(body).value == 0
    assert names == ["\\dir", False, "file", True]
