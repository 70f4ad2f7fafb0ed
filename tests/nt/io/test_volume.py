"""Requests of file systems. Source: WDK ZwFsControlFile, ZwQueryVolumeInformationFile,
ZwDeleteFile, IoVolumeDeviceToDosName; Win32 DeviceIoControl."""

import pytest

from ntsim import win32
from ntsim.wdm import *
from tests.conftest import complete, open_thing, thing_driver

FSCTL_OWN = CTL_CODE(FILE_DEVICE_FILE_SYSTEM, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)


class Volume:
    """A driver whose dispatch routines note what comes and answer it."""

    def __init__(self, name="\\Device\\Volume") -> None:
        self.name, self.seen = name, []

    def entry(self, DriverObject):
        majors = (
            IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_FILE_SYSTEM_CONTROL,
            IRP_MJ_QUERY_VOLUME_INFORMATION, IRP_MJ_SET_VOLUME_INFORMATION, IRP_MJ_DEVICE_CONTROL,
        )  # fmt: skip
        for major in majors:
            DriverObject.MajorFunction[major] = self.dispatch
        name = UNICODE_STRING(self.name)
        _, self.device = IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_DISK, 0x11, FALSE)
        self.device.Flags &= ~DO_DEVICE_INITIALIZING

    def dispatch(self, DeviceObject, Irp):
        stack = IoGetCurrentIrpStackLocation(Irp)
        major, parameters = stack.MajorFunction, stack.Parameters
        if major == IRP_MJ_CREATE:
            self.seen.append((major, parameters.Create.Options & FILE_DELETE_ON_CLOSE))
        elif major == IRP_MJ_FILE_SYSTEM_CONTROL:
            code = parameters.FileSystemControl.FsControlCode
            text = read_bytes(int(Irp.AssociatedIrp.SystemBuffer), 2)
            self.seen.append((major, stack.MinorFunction, code, text))
            write_bytes(int(Irp.AssociatedIrp.SystemBuffer), text[::-1])
            return complete(Irp, STATUS_SUCCESS, 2)
        elif major in (IRP_MJ_QUERY_VOLUME_INFORMATION, IRP_MJ_SET_VOLUME_INFORMATION):
            query = parameters.QueryFile
            self.seen.append((major, query.Length, query.FileInformationClass))
            if major == IRP_MJ_QUERY_VOLUME_INFORMATION:
                write_bytes(int(Irp.AssociatedIrp.SystemBuffer), b"size")
            return complete(Irp, STATUS_SUCCESS, 4)
        else:
            self.seen.append((major,))
        return complete(Irp)


def attributes(name):
    made = OBJECT_ATTRIBUTES()
    flags = OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE
    InitializeObjectAttributes(made, UNICODE_STRING(name), flags, NULL, NULL)
    return made


def opened(name="\\Device\\Volume"):
    block = IO_STATUS_BLOCK()
    access = SYNCHRONIZE | FILE_READ_DATA
    _, handle = ZwOpenFile(access, attributes(name), block, 7, FILE_SYNCHRONOUS_IO_NONALERT)
    return handle


def run_with_volume(value_of, work):
    volume = Volume()

    def body(DriverObject):
        volume.entry(DriverObject)
        return work(volume)

    return value_of(body)


def buffer_of(data: bytes) -> int:
    block = ExAllocatePoolZero(NonPagedPool, 64, 1)
    write_bytes(block, data)
    return block


def test_a_driver_sends_a_file_system_control_request(value_of) -> None:
    def work(volume):
        handle, block, out = opened(), IO_STATUS_BLOCK(), buffer_of(b"")
        arguments = (block, FSCTL_OWN, buffer_of(b"ab"), 2, out, 2)
        status = ZwFsControlFile(handle, NULL, NULL, NULL, *arguments)
        return status, block.Information, read_bytes(out, 2), volume.seen[1:]

    status, information, answer, seen = run_with_volume(value_of, work)
    assert (status, information, answer) == (STATUS_SUCCESS, 2, b"ba")
    assert seen == [(IRP_MJ_FILE_SYSTEM_CONTROL, IRP_MN_USER_FS_REQUEST, FSCTL_OWN, b"ab")]


def test_an_apps_code_of_device_type_file_system_is_a_file_system_control(ntsim_machine) -> None:
    seen, answers = [], []

    def note(DeviceObject, Irp):
        seen.append(IoGetCurrentIrpStackLocation(Irp).MajorFunction)
        write_bytes(int(Irp.AssociatedIrp.SystemBuffer), b"!")
        return complete(Irp, STATUS_SUCCESS, 1)

    def device(DeviceObject):
        routines = DeviceObject.DriverObject.MajorFunction
        routines[IRP_MJ_FILE_SYSTEM_CONTROL] = routines[IRP_MJ_DEVICE_CONTROL] = note

    def app():
        own = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
        for code in (FSCTL_OWN, own):
            answers.append(bytes(win32.DeviceIoControl(open_thing(), code, b"x", 1)))

    machine = ntsim_machine()
    machine.load_driver(thing_driver(device=device, device_control=note), name="drv.sys")
    machine.run(app, name="app.exe")
    assert (seen, answers) == (
        [IRP_MJ_FILE_SYSTEM_CONTROL, IRP_MJ_DEVICE_CONTROL],
        [b"!", b"!"],
    )


def test_the_io_manager_knows_an_unmounted_device_itself_and_asks_for_the_rest(value_of) -> None:
    def work(volume):
        handle, block, room = opened(), IO_STATUS_BLOCK(), buffer_of(b"")
        seen = []
        for kind, length in ((FileFsDeviceInformation, 8), (FileFsSizeInformation, 24)):
            status = ZwQueryVolumeInformationFile(handle, block, room, length, kind)
            seen.append((status, block.Information, read_bytes(room, 8)))
        status = ZwSetVolumeInformationFile(handle, block, room, 16, FileFsLabelInformation)
        return seen, status, volume.seen[1:]

    answers, status, seen = run_with_volume(value_of, work)
    device_type = FILE_DEVICE_DISK.to_bytes(4, "little")
    assert answers[0] == (STATUS_SUCCESS, 8, device_type + b"\x11\0\0\0")
    assert answers[1][:2] == (STATUS_SUCCESS, 4)
    assert answers[1][2][:4] == b"size"
    assert status == STATUS_SUCCESS
    assert seen == [
        (IRP_MJ_QUERY_VOLUME_INFORMATION, 24, FileFsSizeInformation),
        (IRP_MJ_SET_VOLUME_INFORMATION, 16, FileFsLabelInformation),
    ]


@pytest.mark.parametrize(
    ("kind", "length", "status"),
    [
        (FileFsSizeInformation, 23, STATUS_INFO_LENGTH_MISMATCH),
        (FileFsDeviceInformation, 4, STATUS_INFO_LENGTH_MISMATCH),
        (0, 64, STATUS_INVALID_INFO_CLASS),
        (FileFsLabelInformation, 64, STATUS_INVALID_INFO_CLASS),
        (99, 64, STATUS_INVALID_INFO_CLASS),
    ],
)
def test_classes_and_lengths_are_checked(value_of, kind: int, length: int, status: int) -> None:
    def work(volume):
        room = buffer_of(b"")
        return ZwQueryVolumeInformationFile(opened(), IO_STATUS_BLOCK(), room, length, kind)

    assert run_with_volume(value_of, work) == status


def test_deleting_a_file_is_an_open_that_deletes_on_close(value_of) -> None:
    def work(volume):
        return ZwDeleteFile(attributes("\\Device\\Volume\\old.txt")), volume.seen

    assert run_with_volume(value_of, work) == (
        STATUS_SUCCESS,
        [(IRP_MJ_CREATE, FILE_DELETE_ON_CLOSE), (IRP_MJ_CLEANUP,), (IRP_MJ_CLOSE,)],
    )


# DOS names

QUERY_DEVICE_NAME, QUERY_DOS_VOLUME_PATH = 0x4D0008, 0x6D0030


class Mounted(Volume):
    """A volume that tells its name, or the mount manager that tells its letter."""

    def dispatch(self, DeviceObject, Irp):
        stack = IoGetCurrentIrpStackLocation(Irp)
        if stack.MajorFunction != IRP_MJ_DEVICE_CONTROL:
            return complete(Irp)
        control, system = stack.Parameters.DeviceIoControl, int(Irp.AssociatedIrp.SystemBuffer)
        code, room = control.IoControlCode, control.OutputBufferLength
        self.seen.append(code)
        if code == QUERY_DEVICE_NAME:
            data = self.name.encode("utf-16-le")
            data = len(data).to_bytes(2, "little") + data
        else:
            length = int.from_bytes(read_bytes(system, 2), "little")
            asked = read_bytes(system + 2, length).decode("utf-16-le")
            paths = {"\\Device\\Volume": "C:\0\0"}.get(asked, "\0").encode("utf-16-le")
            data = len(paths).to_bytes(4, "little") + paths
        write_bytes(system, data[:room])
        status = STATUS_SUCCESS if room >= len(data) else STATUS_BUFFER_OVERFLOW
        return complete(Irp, status, min(room, len(data)))


def test_the_mount_manager_knows_a_volumes_letter(value_of) -> None:
    def body(DriverObject):
        volume, manager = Mounted(), Mounted("\\Device\\MountPointManager")
        manager.entry(DriverObject)
        manager.device.Flags &= ~DO_DEVICE_INITIALIZING
        volume.entry(DriverObject)
        both = {int(each.device): each for each in (volume, manager)}

        def dispatch(DeviceObject, Irp):
            return both[int(DeviceObject)].dispatch(DeviceObject, Irp)

        for major in range(IRP_MJ_PNP):
            DriverObject.MajorFunction[major] = dispatch
        string = UNICODE_STRING()
        status = IoVolumeDeviceToDosName(volume.device, string)
        text = read_bytes(int(string.Buffer), string.Length).decode("utf-16-le")
        ExFreePool(string.Buffer)
        return status, text, volume.seen, manager.seen

    assert value_of(body) == (
        STATUS_SUCCESS, "C:", [QUERY_DEVICE_NAME], [QUERY_DOS_VOLUME_PATH] * 2,
    )  # fmt: skip


def test_without_a_mount_manager_there_is_no_dos_name(value_of) -> None:
    def body(DriverObject):
        volume = Mounted()
        volume.entry(DriverObject)
        return RtlVolumeDeviceToDosName(volume.device, UNICODE_STRING())

    assert value_of(body) == STATUS_OBJECT_NAME_NOT_FOUND
