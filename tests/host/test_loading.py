"""Loading Python drivers: what a file must have, what it may import, what an unload leaves."""

import pytest

from ntsim.abi import ntstatus
from ntsim.errors import BugCheck, ConfigurationError, DriverLoadError, UnmodelledRoutine
from ntsim.nt.io.open import OpenRequest, iop_open
from ntsim.wdm import *

HELLO = """
from ntsim.wdm import *

def DriverUnload(DriverObject):
    DbgPrint("bye\\n")

def DriverEntry(DriverObject, RegistryPath):
    DriverObject.DriverUnload = DriverUnload
    DbgPrint("hello\\n")
    return STATUS_SUCCESS
"""


@pytest.fixture
def driver(tmp_path):
    """`driver(source, name)`: the path of a driver file."""

    def write(source: str, name: str = "made.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    return write


@pytest.fixture
def refused(ntsim_machine, driver):
    """(message, status) of a driver that does not load; the machine goes on."""

    def load(source: str):
        machine = ntsim_machine()
        with pytest.raises(DriverLoadError) as caught:
            machine.load_driver(driver(source))
        machine.load_driver(driver(HELLO, "after.py"))
        assert machine.debug_output == ["hello"]
        return str(caught.value), caught.value.status

    return load


def test_a_driver_is_loaded_and_unloaded(ntsim_machine, driver) -> None:
    machine = ntsim_machine()
    loaded = machine.load_driver(driver(HELLO))
    machine.unload_driver(loaded)
    assert machine.debug_output == ["hello", "bye"]


def test_a_driver_can_be_loaded_again_after_its_unload_and_starts_afresh(
    ntsim_machine, driver
) -> None:
    machine = ntsim_machine()
    path = driver(
        "LOADS = []\n" + HELLO.replace('"hello\\n"', '"%d\\n", LOADS.append(1) or len(LOADS)')
    )
    for _ in range(3):
        machine.unload_driver(machine.load_driver(path))
    assert machine.debug_output == ["1", "bye"] * 3


def test_a_driver_that_is_loaded_is_not_loaded_twice(ntsim_machine, driver) -> None:
    machine = ntsim_machine()
    machine.load_driver(driver(HELLO))
    with pytest.raises(DriverLoadError, match="made is loaded already") as caught:
        machine.load_driver(driver(HELLO))
    assert caught.value.status == ntstatus.STATUS_IMAGE_ALREADY_LOADED
    machine.load_driver(driver(HELLO), name="other.sys")
    assert machine.debug_output == ["hello", "hello"]


def test_the_images_of_two_drivers_do_not_overlap(ntsim_machine, driver) -> None:
    machine = ntsim_machine()
    one = machine.load_driver(driver(HELLO, "one.py"))
    two = machine.load_driver(driver(HELLO, "two.py"))
    assert one.image.base + one.image.size <= two.image.base
    assert machine.nt.describe_address(one.image.entry_point) == "one!DriverEntry"
    assert machine.nt.describe_address(two.image.entry_point) == "two!DriverEntry"


# Files that are no drivers


def test_a_syntax_error_is_told_with_file_and_line(refused) -> None:
    message, status = refused("x = 1\ndef DriverEntry(d, r:\n")
    assert "made.py:2:" in message
    assert status == ntstatus.STATUS_INVALID_IMAGE_FORMAT


def test_a_file_without_driver_entry_is_refused(refused) -> None:
    message, status = refused("from ntsim.wdm import *\n")
    assert "DriverEntry" in message
    assert status == ntstatus.STATUS_DRIVER_ENTRYPOINT_NOT_FOUND


@pytest.mark.parametrize("where", ["module", "routine", "nested routine", "never called"])
def test_an_unknown_routine_is_told_with_file_and_line(refused, where: str) -> None:
    call = "IoCreateDevize(1)"
    source = {
        "module": f"from ntsim.wdm import *\n\n{call}\ndef DriverEntry(d, r): return 0\n",
        "routine": f"from ntsim.wdm import *\ndef DriverEntry(d, r):\n    return {call}\n",
        "nested routine": "from ntsim.wdm import *\ndef DriverEntry(d, r):\n"
        f"    return (lambda: {call})()\n",
        "never called": f"from ntsim.wdm import *\ndef helper():\n    return {call}\n"
        "def DriverEntry(d, r): return 0\n",
    }[where]
    message, status = refused(source)
    assert "made.py:3:" in message
    assert "IoCreateDevize" in message
    assert status == ntstatus.STATUS_PROCEDURE_NOT_FOUND


@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("time", "KeDelayExecutionThread"),
        ("random", "seed"),
        ("threading", "PsCreateSystemThread"),
        ("socket", "DeviceIoControl"),
        ("subprocess", "m.start"),
        ("asyncio.events", "overlapped"),
    ],
)
def test_a_module_that_would_break_the_simulation_is_refused_with_what_to_use(
    refused, module: str, use: str
) -> None:
    message, status = refused(f"\nimport {module}\ndef DriverEntry(d, r): return 0\n")
    assert "made.py:2" in message
    assert use in message
    assert status == ntstatus.STATUS_DRIVER_UNABLE_TO_LOAD


def test_an_import_inside_a_routine_is_refused_when_it_runs(ntsim_machine, driver) -> None:
    machine = ntsim_machine()
    source = "def DriverEntry(d, r):\n    import random\n    return 0\n"
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(driver(source))
    assert caught.value.parameters[0] == 0xE0507945
    assert "random works outside" in machine.nt.bugcheck_state.fault.reason


@pytest.mark.parametrize("line", ["1 / 0", "raise ValueError('no')", "[][1]", "exit(3)"])
def test_an_error_at_module_level_is_told_with_file_and_line(refused, line: str) -> None:
    message, _ = refused(f"x = 2\n{line}\ndef DriverEntry(d, r): return 0\n")
    assert "made.py:2" in message


def test_the_files_own_folder_and_its_parent_are_importable(ntsim_machine, driver) -> None:
    driver("CODE = 0x222000\n", "package/codes.py")
    driver("from codes import CODE\nfrom package.codes import CODE as AGAIN\n", "package/more.py")
    path = driver(
        "from ntsim.wdm import *\nfrom more import CODE, AGAIN\nfrom package import codes\n"
        "def DriverEntry(d, r):\n    DbgPrint('%x %x\\n', CODE, AGAIN + codes.CODE - CODE)\n"
        "    return 0\n",
        "package/main.py",
    )
    machine = ntsim_machine()
    machine.load_driver(path)
    assert machine.debug_output == ["222000 222000"]


def test_nothing_of_a_driver_stays_in_sys_modules(ntsim_machine, driver) -> None:
    import sys

    driver("CODE = 1\n", "package/codes_of_this_test.py")
    path = driver(
        "import codes_of_this_test\ndef DriverEntry(d, r): return 0\n", "package/main_of_it.py"
    )
    ntsim_machine().load_driver(path)
    assert not {"codes_of_this_test", "main_of_it", "package"} & set(sys.modules)


# DriverEntry


@pytest.mark.parametrize("status", [STATUS_UNSUCCESSFUL, STATUS_INSUFFICIENT_RESOURCES])
def test_a_failing_driver_entry_unloads_the_driver(ntsim_machine, status: int) -> None:
    machine = ntsim_machine()
    with pytest.raises(DriverLoadError) as caught:
        machine.load_driver(lambda d, r: status, name="drv.sys")
    assert caught.value.status == status
    assert ntstatus.status_name(status) in str(caught.value)
    assert machine.nt.io.drivers == {}
    machine.load_driver(lambda d, r: 0, name="drv.sys")


def test_driver_entry_that_returns_nothing_succeeds_as_with_eax_zero(ntsim_machine) -> None:
    assert ntsim_machine().load_driver(lambda d, r: None, name="drv.sys").status == 0


@pytest.mark.parametrize("value", ["STATUS_SUCCESS", 1.5, [0], object])
def test_driver_entry_that_returns_no_integer_is_a_python_error(ntsim_machine, value) -> None:
    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(lambda d, r: value, name="drv.sys")
    assert (caught.value.code, caught.value.parameters[0]) == (0x7E, 0xE0507945)
    assert "an integer is needed" in machine.nt.bugcheck_state.fault.reason


def test_driver_entry_gets_its_driver_object_and_its_service_key(run_driver) -> None:
    def body(DriverObject, RegistryPath) -> list:
        path = read_bytes(RegistryPath.Buffer, RegistryPath.Length).decode("utf-16-le")
        name = DriverObject.DriverName
        return [
            DriverObject.Type,
            DriverObject.Size,
            read_bytes(name.Buffer, name.Length).decode("utf-16-le"),
            path.lower(),
            KeGetCurrentIrql(),
            ExGetPreviousMode(),
        ]

    found = run_driver(body).value
    assert found[:3] == [4, 0x150, "\\Driver\\drv"]
    assert found[3].endswith("\\services\\drv")
    assert found[4:] == [0, 0]


def test_every_major_function_is_nts_default_at_first(run_driver) -> None:
    def body(DriverObject) -> set:
        return {DriverObject.MajorFunction[major] for major in range(IRP_MJ_MAXIMUM_FUNCTION + 1)}

    outcome = run_driver(body)
    (address,) = outcome.value
    assert outcome.machine.nt.describe_address(address) == "nt!IopInvalidDeviceRequest"


def test_a_routine_reads_back_as_its_address(run_driver) -> None:
    def routine(DeviceObject, Irp) -> int: ...

    def body(DriverObject) -> int:
        DriverObject.MajorFunction[IRP_MJ_CREATE] = routine
        DriverObject.MajorFunction[IRP_MJ_CLOSE] = routine
        assert DriverObject.MajorFunction[IRP_MJ_CLOSE] == DriverObject.MajorFunction[0]
        return DriverObject.MajorFunction[IRP_MJ_CREATE]

    outcome = run_driver(body)
    assert outcome.machine.nt.describe_address(outcome.value) == "drv!routine"


def test_routines_made_anew_all_the_time_keep_one_address_if_nothing_tells_them_apart(
    value_of,
) -> None:
    def body() -> int:
        dpc, seen = KDPC(), set()
        for _ in range(100):
            KeInitializeDpc(dpc, lambda *_: None, NULL)
            seen.add(dpc.DeferredRoutine)
        return len(seen)

    assert value_of(body) == 1


def test_a_driver_may_make_any_number_of_routines_while_it_runs(run_driver) -> None:
    def body() -> tuple[int, int, list[int]]:
        dpc, seen, ran = KDPC(), [], []
        for number in range(10_000):
            KeInitializeDpc(dpc, lambda *_, number=number: ran.append(number), NULL)
            seen.append(dpc.DeferredRoutine)
        for address in seen[::2500]:
            dpc.DeferredRoutine = address
            KeInsertQueueDpc(dpc, NULL, NULL)
        return len(set(seen)), seen[-1], ran

    outcome = run_driver(body, processors=1)
    count, last, ran = outcome.value
    assert (count, ran) == (10_000, [0, 2500, 5000, 7500])
    assert outcome.machine.nt.describe_address(last) == "drv!<lambda>"


def test_two_drivers_from_one_python_file_keep_their_names_apart(ntsim_machine) -> None:
    machine = ntsim_machine()
    addresses = []

    def driver(marker):
        def routine(DeviceObject, Irp) -> int:
            return marker

        def DriverEntry(DriverObject, RegistryPath) -> int:
            DriverObject.MajorFunction[0] = routine
            addresses.append(DriverObject.MajorFunction[0])
            return 0

        return DriverEntry

    for name in ("one", "two"):
        machine.load_driver(driver(name), name=f"{name}.sys")
    described = [machine.nt.describe_address(address) for address in addresses]
    assert described == ["one!routine", "two!routine"]


# Unload


def test_a_driver_without_driver_unload_cannot_be_stopped(ntsim_machine) -> None:
    machine = ntsim_machine()
    loaded = machine.load_driver(lambda d, r: 0, name="drv.sys")
    with pytest.raises(DriverLoadError, match=r"drv\.sys has no DriverUnload"):
        machine.unload_driver(loaded)


def with_unload(work):
    """A DriverEntry that does `work(DriverObject)` and has an empty DriverUnload."""

    def unload(DriverObject) -> None: ...

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = unload
        work(DriverObject)
        return STATUS_SUCCESS

    return DriverEntry


def test_a_timer_left_set_bugchecks_0xce_when_its_dpc_is_due(ntsim_machine) -> None:
    machine = ntsim_machine(processors=1)

    def arm(DriverObject) -> None:
        timer = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KTIMER.size, 1), PKTIMER)
        dpc = cast(ExAllocatePoolWithTag(NonPagedPoolNx, KDPC.size, 1), PKDPC)
        due = LARGE_INTEGER()
        due.QuadPart = -100_000
        KeInitializeTimer(timer)
        KeInitializeDpc(dpc, lambda *_: None, NULL)
        KeSetTimer(timer, due, dpc)

    machine.unload_driver(machine.load_driver(with_unload(arm), name="drv.sys"))
    with pytest.raises(BugCheck) as caught:
        machine.run_until_idle()
    assert caught.value.code in (0xCE, 0xD1, 0xA)
    assert machine.nt.images.unloaded_at(caught.value.parameters[0]) is not None


def test_a_thread_left_running_bugchecks_0xce_when_it_goes_on(ntsim_machine) -> None:
    """Its code is gone: the next instruction fetch faults."""
    machine = ntsim_machine(processors=1)

    def leave(DriverObject) -> None:
        def worker(Context) -> None:
            interval = LARGE_INTEGER()
            interval.QuadPart = -100_000
            KeDelayExecutionThread(KernelMode, FALSE, interval)
            DbgPrint("I should not be here\n")

        PsCreateSystemThread(0, NULL, NULL, NULL, worker, NULL)

    machine.unload_driver(machine.load_driver(with_unload(leave), name="drv.sys"))
    with pytest.raises(BugCheck) as caught:
        machine.run_until_idle()
    assert caught.value.code == 0xCE


def test_a_device_left_behind_keeps_the_driver_object_and_cannot_be_opened(ntsim_machine) -> None:
    machine = ntsim_machine()

    def create(DriverObject) -> None:
        IoCreateDevice(
            DriverObject, 0, UNICODE_STRING("\\Device\\Left"), FILE_DEVICE_UNKNOWN, 0, FALSE
        )

    machine.unload_driver(machine.load_driver(with_unload(create), name="drv.sys"))
    statuses = []

    def client(DriverObject, RegistryPath) -> int:
        statuses.append(iop_open(machine.nt, "\\Device\\Left", OpenRequest(0xC0000000, 3))[0])
        return 0

    machine.load_driver(client, name="client.sys")
    assert statuses == [STATUS_NO_SUCH_DEVICE]


def test_an_unload_waits_for_the_last_close_and_refuses_to_open_again(ntsim_machine) -> None:
    """WDK ZwUnloadDriver, Windows Internals 7, part 1, chapter 6: the unload stays pending."""
    machine = ntsim_machine()
    said = []

    def unload(DriverObject) -> None:
        said.append("unloaded")
        IoDeleteDevice(DriverObject.DeviceObject)

    def succeed(DeviceObject, Irp) -> int:
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    def DriverEntry(DriverObject, RegistryPath) -> int:
        DriverObject.DriverUnload = unload
        for major in (IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE):
            DriverObject.MajorFunction[major] = succeed
        name = UNICODE_STRING("\\Device\\Busy")
        return IoCreateDevice(DriverObject, 0, name, FILE_DEVICE_UNKNOWN, 0, FALSE)[0]

    loaded = machine.load_driver(DriverEntry, name="drv.sys")
    handles = []

    def opener(DriverObject, RegistryPath) -> int:
        said.append(iop_open(machine.nt, "\\Device\\Busy", OpenRequest(0xC0000000, 3))[0])
        handles.append(iop_open(machine.nt, "\\Device\\Busy", OpenRequest(0xC0000000, 3))[1])
        return 0

    machine.load_driver(opener, name="opener.sys")
    machine.unload_driver(loaded)

    def closer(DriverObject, RegistryPath) -> int:
        for handle in (handles[0] - 4, handles[0]):
            said.append(iop_open(machine.nt, "\\Device\\Busy", OpenRequest(0xC0000000, 3))[0])
            ZwClose(handle)
        return 0

    machine.load_driver(closer, name="closer.sys")
    machine.run_until_idle()
    assert said == [0, STATUS_NO_SUCH_DEVICE, STATUS_NO_SUCH_DEVICE, "unloaded"]


def test_a_symbolic_link_left_behind_leads_nowhere_and_collides(ntsim_machine) -> None:
    machine = ntsim_machine()
    statuses = []

    def create(DriverObject) -> None:
        _, device = IoCreateDevice(
            DriverObject, 0, UNICODE_STRING("\\Device\\Gone"), FILE_DEVICE_UNKNOWN, 0, FALSE
        )
        link = IoCreateSymbolicLink(UNICODE_STRING("\\??\\Left"), UNICODE_STRING("\\Device\\Gone"))
        statuses.append(link)
        IoDeleteDevice(device)

    for _ in range(2):
        machine.unload_driver(machine.load_driver(with_unload(create), name="drv.sys"))

    def client(DriverObject, RegistryPath) -> int:
        statuses.append(iop_open(machine.nt, "\\??\\Left", OpenRequest(0xC0000000, 3))[0])
        return 0

    machine.load_driver(client, name="client.sys")
    assert statuses == [0, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND]


# What is not modelled


def test_a_routine_that_is_not_modelled_stops_the_run_with_its_prototype(run_driver) -> None:
    def body() -> None:
        try:
            FsRtlAllocateFileLock(NULL, NULL)
        except BaseException:
            DbgPrint("not an error of mine\n")

    with pytest.raises(UnmodelledRoutine) as caught:
        run_driver(body)
    assert caught.value.routine == "FsRtlAllocateFileLock"
    assert caught.value.prototype.startswith("PFILE_LOCK FsRtlAllocateFileLock(")


# Arguments of Machine


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("nowhere/driver.py", "no such file"),
        ("driver.sys", "no such file"),
        (".", "folder"),
        (5, "neither a path nor callable"),
        (None, "neither a path nor callable"),
    ],
)
def test_a_target_that_cannot_be_a_driver_is_the_callers_error(
    ntsim_machine, target, text: str
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        ntsim_machine().load_driver(target)


def test_what_a_driver_uses_outside_a_machine_says_so() -> None:
    for use in (lambda: KeGetCurrentIrql(), lambda: KEVENT(), lambda: cast(1, PIRP)):
        with pytest.raises(RuntimeError, match=r"[Mm]achine"):
            use()
