"""A new project: a driver, its control code, an app and a test that pass at once.

The files are the smallest that show all parts; their names follow the project's.
"""

import keyword
import re
from pathlib import Path

from ntsim.errors import ConfigurationError

DRIVER = '''"""The driver {name}: a device with one control code, which sends back what it gets."""

from driver.{name}_ioctl import IOCTL_{NAME}_ECHO
from ntsim.wdm import *

DeviceName = UNICODE_STRING("\\\\Device\\\\{Name}")
LinkName = UNICODE_STRING("\\\\DosDevices\\\\{Name}")


def DriverEntry(DriverObject: PDRIVER_OBJECT, RegistryPath: PUNICODE_STRING) -> NTSTATUS:
    DbgPrint("{name}: DriverEntry\\n")
    Status, DeviceObject = IoCreateDevice(
        DriverObject, 0, DeviceName, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE
    )
    if not NT_SUCCESS(Status):
        return Status
    DriverObject.MajorFunction[IRP_MJ_CREATE] = {Name}CreateClose
    DriverObject.MajorFunction[IRP_MJ_CLOSE] = {Name}CreateClose
    DriverObject.MajorFunction[IRP_MJ_DEVICE_CONTROL] = {Name}DeviceControl
    DriverObject.DriverUnload = {Name}Unload
    Status = IoCreateSymbolicLink(LinkName, DeviceName)
    if not NT_SUCCESS(Status):
        IoDeleteDevice(DeviceObject)
    return Status


def {Name}CreateClose(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    return {Name}Complete(Irp, STATUS_SUCCESS, 0)


def {Name}DeviceControl(DeviceObject: PDEVICE_OBJECT, Irp: PIRP) -> NTSTATUS:
    """METHOD_BUFFERED: input and output share SystemBuffer."""
    Request = IoGetCurrentIrpStackLocation(Irp).Parameters.DeviceIoControl
    if Request.IoControlCode != IOCTL_{NAME}_ECHO:
        return {Name}Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0)
    if Request.OutputBufferLength < Request.InputBufferLength:
        return {Name}Complete(Irp, STATUS_BUFFER_TOO_SMALL, 0)
    DbgPrint("{name}: %u bytes\\n", Request.InputBufferLength)
    return {Name}Complete(Irp, STATUS_SUCCESS, Request.InputBufferLength)


def {Name}Complete(Irp: PIRP, Status: NTSTATUS, Information: ULONG_PTR) -> NTSTATUS:
    Irp.IoStatus.Status = Status
    Irp.IoStatus.Information = Information
    IoCompleteRequest(Irp, IO_NO_INCREMENT)
    return Status


def {Name}Unload(DriverObject: PDRIVER_OBJECT) -> None:
    IoDeleteSymbolicLink(LinkName)
    IoDeleteDevice(DriverObject.DeviceObject)
'''

IOCTL = '''"""What driver/{name}.py and userapp/{name}_app.py share."""

from ntsim.win32 import CTL_CODE, FILE_ANY_ACCESS, FILE_DEVICE_UNKNOWN, METHOD_BUFFERED

IOCTL_{NAME}_ECHO = CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
'''

APP = '''"""The app of driver/{name}.py: sends a text, prints what comes back."""

import sys

from driver.{name}_ioctl import IOCTL_{NAME}_ECHO
from ntsim.win32 import *

text = sys.argv[1] if len(sys.argv) > 1 else "hello"
device = CreateFile(
    r"\\\\.\\{Name}", GENERIC_READ | GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None
)
print(DeviceIoControl(device, IOCTL_{NAME}_ECHO, text.encode(), 100).decode())
CloseHandle(device)
'''

TEST = '''"""Run with pytest: the plugin that comes with ntsim has the fixture ntsim_machine."""

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
DRIVER = PROJECT / "driver" / "{name}.py"
APP = PROJECT / "userapp" / "{name}_app.py"


def test_the_app_gets_its_text_back(ntsim_machine):
    machine = ntsim_machine(processors=2)
    machine.load_driver(DRIVER)
    process = machine.run(APP, args=("a text",))
    assert process.exit_code == 0
    assert process.stdout == "a text\\n"


@pytest.mark.parametrize("seed", range(3))
def test_two_apps_at_once(ntsim_machine, seed):
    machine = ntsim_machine(processors=2, seed=seed)
    machine.load_driver(DRIVER)
    processes = [machine.start(APP, args=(text,)) for text in ("one", "two")]
    machine.run_until_idle()
    assert [process.stdout for process in processes] == ["one\\n", "two\\n"]


def test_the_driver_unloads(ntsim_machine):
    machine = ntsim_machine()
    machine.unload_driver(machine.load_driver(DRIVER))
    assert not machine.findings
'''

PYTEST_INI = """# Only tests/: pytest would take driver/echo_test.py for a test, by its name.
[pytest]
testpaths = tests
python_files = tests/test_*.py
"""

FILES = {
    "pytest.ini": PYTEST_INI,
    "driver/{name}.py": DRIVER,
    "driver/{name}_ioctl.py": IOCTL,
    "userapp/{name}_app.py": APP,
    "tests/test_{name}.py": TEST,
}


TAKEN = {"driver", "userapp", "tests", "ntsim"}


def create(path: Path) -> list[Path]:
    """Write the files of a project in a new folder; their paths below it.

    ConfigurationError if the folder's name cannot name a driver, or if it has anything in it.
    """
    name = module_name(path.name)
    names = {"name": name, "NAME": name.upper(), "Name": "".join(map(str.title, name.split("_")))}
    written = []
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigurationError(f"{path} exists already: choose another name")
        for file, text in FILES.items():
            place = Path(file.format(name=name))
            target = path / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.format(**names), encoding="utf-8")
            written.append(place)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or path}: {error.strerror}") from None
    return written


def module_name(name: str) -> str:
    """The project's name as Python and Windows can have it; ConfigurationError if it cannot be."""
    made = name.lower().replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", made) or keyword.iskeyword(made):
        raise ConfigurationError(
            f"{name!r} cannot name a driver: use letters, digits and _, a letter first"
        )
    if made in TAKEN:
        raise ConfigurationError(f"{name!r} is the name of a folder of every project: use another")
    return made
