"""The hypervisor's hooks and monitor: what an app hears of, whatever else happens meanwhile."""

from __future__ import annotations

import shutil

import pytest

import ntsim
from driver.hypervisor.system_ioctl import *
from ntsim.intrin import __cpuid
from ntsim.lab.samples import samples_root
from ntsim.win32 import *
from userapp.hypervisor_part7_app import unpack

DRIVER = samples_root() / "driver" / "hypervisor_system.py"
C = samples_root() / "driver" / "c"
READ, WRITE = WATCH_READ, WATCH_WRITE
EPT_VIOLATION, BREAKPOINT = 48, 0
LSTAR = 0xC0000082
ROOM = 16 * HV_EVENT_SIZE
CANCELLED = 995  # ERROR_OPERATION_ABORTED
PAGE = 0x1000


def open_device(flags=FILE_FLAG_OVERLAPPED):
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile(r"\\.\HypervisorSystem", access, 0, None, OPEN_EXISTING, flags, None)


def send(device, code, data=b"", room=0):
    """A request that may wait: (OVERLAPPED, buffer)."""
    overlapped = OVERLAPPED()
    overlapped.hEvent = CreateEvent(None, True, False, None)
    return overlapped, DeviceIoControl(device, code, data, room, overlapped)


def wait_for(device, sent):
    overlapped, buffer = sent
    length = GetOverlappedResult(device, overlapped, True)
    CloseHandle(overlapped.hEvent)
    return bytes(buffer[:length])


def control(device, code, *numbers, room=64):
    data = b"".join(number.to_bytes(8, "little") for number in numbers)
    return wait_for(device, send(device, code, data, room))


def failure(device, code, *numbers, room=64):
    """The error of a request; 0 if it succeeds."""
    try:
        control(device, code, *numbers, room=room)
    except error as e:
        return e.winerror
    return 0


def events(device, room=ROOM):
    return unpack(wait_for(device, send(device, HV_EVENTS, room=room)))


def new_page(size=PAGE):
    memory = VirtualAlloc(0, size, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
    write_bytes(memory, bytes(size))
    return memory


def virtualised_with(access, size=PAGE):
    """(device, the page that is watched, its hook), in an app."""
    device, memory = open_device(), new_page(size)
    control(device, HV_VIRTUALISE, BY_IPI)
    hook = int.from_bytes(control(device, HV_WATCH_PAGE, memory, access), "little")
    return device, memory, hook


def run(app, processors=2, seed=0, before=(), exit_code=0, **options):
    """Run an app; afterwards every processor is itself again and nothing is left."""
    machine = ntsim.Machine(
        processors=processors, seed=seed, verifier=("pool-tracking",), **options
    )
    with machine:
        for path in before:
            machine.load_driver(path)
        driver = machine.load_driver(DRIVER)
        process = machine.run(app, name="app.exe")
        assert process.exit_code == exit_code, process.stderr
        assert {processor.vmx.mode_name for processor in machine.nt.processors} == {"off"}
        machine.unload_driver(driver)
        machine.run_until_idle()
        assert machine.bugcheck is None and not machine.findings
        return machine


# What is reported


@pytest.mark.parametrize("processors", [1, 2, 4])
@pytest.mark.parametrize(
    ("access", "reported"),
    [(READ, {READ}), (WRITE, {WRITE}), (READ | WRITE, {READ, WRITE})],
    ids=["reads", "writes", "both"],
)
def test_accesses_of_the_kinds_that_are_watched_are_reported(processors, access, reported):
    heard = []

    def app():
        device, memory, _ = virtualised_with(access)
        for offset in (0x10, 0x20, 0x30):
            write_bytes(memory + offset, b"written")
            assert read_bytes(memory + offset, 7) == b"written"
            Sleep(30)
            heard.extend((e.detail & 7, e.value - memory) for e in events(device))
        CloseHandle(device)

    run(app, processors)
    assert set(heard) == {(kind, at) for kind in reported for at in (0x10, 0x20, 0x30)}


def test_a_record_says_where_when_and_on_which_processor():
    heard = []

    def app():
        device, memory, _ = virtualised_with(WRITE)
        for _ in range(2):
            write_bytes(memory, b"x")
            heard.extend(events(device))
        CloseHandle(device)

    machine = run(app, 4)
    first, second = heard
    assert first.reason == EPT_VIOLATION and first.lost == 0
    assert 0 <= first.processor < 4 and first.rip and first.time < second.time
    assert machine.nt.vmx_mode(machine.nt.processors[0]) == "off"


def test_an_access_of_two_watched_pages_is_reported_for_each_and_both_stay_watched():
    heard = []

    def app():
        device, memory, _ = virtualised_with(WRITE, 2 * PAGE)
        control(device, HV_WATCH_PAGE, memory + PAGE, WRITE)
        for _ in range(2):
            write_bytes(memory + PAGE - 4, b"12345678")
            Sleep(30)
            heard.append({(event.value - memory) // PAGE for event in events(device)})
        CloseHandle(device)

    run(app)
    assert heard == [{0, 1}, {0, 1}]


def test_a_page_that_is_forgotten_is_reported_no_more_and_its_frame_is_unlocked():
    def app():
        device, memory, hook = virtualised_with(WRITE)
        write_bytes(memory, b"x")
        assert len(events(device)) == 1
        control(device, HV_FORGET_PAGE, hook)
        write_bytes(memory, b"y")
        waiting = send(device, HV_EVENTS, room=ROOM)
        Sleep(50)
        assert WaitForSingleObject(waiting[0].hEvent, 0) == WAIT_TIMEOUT
        assert failure(device, HV_FORGET_PAGE, hook)
        CloseHandle(device)

    run(app)


def test_what_cannot_be_watched_is_refused():
    def app():
        device = open_device()
        memory = new_page()
        assert failure(device, HV_WATCH_PAGE, memory, WRITE)  # no hypervisor yet
        control(device, HV_VIRTUALISE, BY_DPC)
        assert failure(device, HV_WATCH_PAGE, 0x10, WRITE)
        assert failure(device, HV_WATCH_PAGE, 0xFFFFF80000000000, WRITE)
        assert failure(device, HV_WATCH_PAGE, memory, 0)
        assert failure(device, HV_WATCH_PAGE, memory, 8)
        assert failure(device, HV_WATCH_PAGE, memory, WRITE) == 0
        assert failure(device, HV_WATCH_PAGE, memory + 8, READ)  # it is watched
        assert failure(device, HV_EVENTS, room=HV_EVENT_SIZE - 1)  # no room for a record
        pages = [new_page() for _ in range(8)]
        refused = [failure(device, HV_WATCH_PAGE, page, WRITE) for page in pages]
        assert not any(refused[:7]) and refused[7]
        CloseHandle(device)

    run(app)


CODES = [
    HV_TRANSLATE, HV_PHYSICAL, HV_VIRTUALISE, HV_DEVIRTUALISE, HV_WATCH_PAGE, HV_WATCH_MSR,
    HV_WATCH_PORT, HV_EXITS, HV_FORGET_PAGE, HV_HIDE_BREAKPOINT,
]  # fmt: skip


@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_whatever_an_app_asks_for_the_system_goes_on(code, on):
    def app():
        device = open_device()
        if on:
            control(device, HV_VIRTUALISE, BY_IPI)
        for number in (0x100, 0x10000, 1 << 32, 1 << 47, (1 << 64) - 1):
            for numbers in ((), (number,), (number, number), (number, WRITE)):
                failure(device, code, *numbers)
                failure(device, code, *numbers, room=0)
        CloseHandle(device)

    run(app)


@pytest.mark.parametrize("processors", [1, 2, 4])
def test_more_records_than_requests_are_kept_and_what_had_no_room_is_counted(processors):
    heard = []

    def app():
        device, memory, _ = virtualised_with(WRITE)
        SetThreadAffinityMask(GetCurrentThread(), 1)
        for i in range(100):
            write_bytes(memory + i, b"x")
        while len(heard) < 64:
            heard.extend(events(device))
        write_bytes(memory, b"x")
        heard.extend(events(device))
        CloseHandle(device)

    run(app, processors)
    assert len(heard) == 65
    assert [event.value & 0xFFF for event in heard[:64]] == list(range(64))
    assert [event.lost for event in heard] == [0] * 64 + [36]


def test_several_requests_wait_and_each_gets_records():
    heard = []

    def app():
        device, memory, _ = virtualised_with(WRITE)
        waiting = [send(device, HV_EVENTS, room=HV_EVENT_SIZE) for _ in range(4)]
        for i in range(4):
            write_bytes(memory + i, b"x")
        for each in waiting:
            heard.extend(unpack(wait_for(device, each)))
        CloseHandle(device)

    run(app, 4)
    assert sorted(event.value & 0xFFF for event in heard) == [0, 1, 2, 3]


# Ends


def virtualise_again(device, memory):
    control(device, HV_DEVIRTUALISE, BY_IPI)
    control(device, HV_VIRTUALISE, BY_AFFINITY)
    write_bytes(memory, b"x")


def close_the_handle(device, memory):
    CloseHandle(device)


def just_exit(device, memory):
    pass


def be_killed(device, memory):
    TerminateProcess(GetCurrentProcess(), 7)


def cancel(device, memory):
    CancelIo(device)
    CloseHandle(device)


@pytest.mark.parametrize("processors", [1, 2, 4])
@pytest.mark.parametrize(
    "end", [close_the_handle, just_exit, be_killed, cancel, virtualise_again]
)
def test_requests_that_wait_and_pages_that_are_watched_end_with_their_app(processors, end):
    def app():
        device, memory, _ = virtualised_with(READ | WRITE)
        for _ in range(3):
            send(device, HV_EVENTS, room=ROOM)
        end(device, memory)

    run(app, processors, exit_code=7 if end is be_killed else 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("processors", [2, 4])
def test_a_request_is_completed_or_cancelled_never_both_and_never_neither(processors, seed):
    """Cancellation by one thread races with the monitor's DPC; exits go on in a third."""
    outcomes = []

    def app():
        device, memory, _ = virtualised_with(WRITE)
        done = []

        def write(count):
            for i in range(count):
                write_bytes(memory + i, b"x")
                Sleep(7)
            done.append(True)

        thread = CreateThread(None, 0, write, (12,))
        while not done:
            waiting = send(device, HV_EVENTS, room=HV_EVENT_SIZE)
            Sleep(1 + 5 * len(outcomes) % 13)
            try:
                if not HasOverlappedIoCompleted(waiting[0]):
                    CancelIoEx(device, waiting[0])
                outcomes.append(len(wait_for(device, waiting)))
            except error as e:
                outcomes.append(-e.winerror)
        WaitForSingleObject(thread, INFINITE)
        CloseHandle(device)

    run(app, processors, seed=seed, strategy="random")
    assert set(outcomes) == {HV_EVENT_SIZE, -CANCELLED}


def test_the_driver_is_unloaded_when_the_last_request_has_ended():
    """Unloading is asked for while a request waits; it happens when the handle is closed."""
    seen = []

    def app():
        device, _, _ = virtualised_with(WRITE)
        waiting = send(device, HV_EVENTS, room=ROOM)
        Sleep(100)
        seen.append(HasOverlappedIoCompleted(waiting[0]))
        CloseHandle(device)

    with ntsim.Machine(processors=2, verifier=("pool-tracking",)) as machine:
        driver = machine.load_driver(DRIVER)
        process = machine.start(app)
        machine.run_for(0.05)
        machine.unload_driver(driver)
        machine.run_to_exit([process])
        machine.run_until_idle()
        assert process.exit_code == 0, process.stderr
        assert seen == [False] and not machine.findings
        assert {processor.vmx.mode_name for processor in machine.nt.processors} == {"off"}


# A breakpoint that nobody can read


def hide(device, name):
    data = wait_for(device, send(device, HV_HIDE_BREAKPOINT, name.encode(), 16))
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")


@pytest.mark.parametrize("processors", [1, 2, 4])
def test_a_hidden_breakpoint_reports_calls_and_callers_of_machine_code(processors):
    heard, places = [], []

    def app():
        device = open_device()
        control(device, HV_VIRTUALISE, BY_IPI)
        _, address = hide(device, "IofCompleteRequest")
        places.append(address)
        echo = CreateFile(r"\\.\Echo", GENERIC_READ | GENERIC_WRITE, 0, None, 3, 0, None)
        CloseHandle(echo)
        Sleep(50)
        heard.extend(events(device))
        assert __cpuid(0x40000000)[1:] != (0, 0, 0)
        CloseHandle(device)

    machine = run(app, processors, before=[C / "echo.sys"])
    nt = machine.nt
    assert len(heard) == 2  # create and close; the driver has no routine for cleanup
    for event in heard:
        assert (event.reason, event.rip) == (BREAKPOINT, places[0])
        assert "echo" in nt.describe_address(event.value)
        assert event.detail >> 47 == 0x1FFFF  # RCX, the IRP


@pytest.mark.parametrize("processors", [1, 4])
def test_a_hidden_breakpoint_meets_apps_system_calls(processors):
    """A service's body is code like an export's, where a compiled driver is loaded."""
    heard, places = [], []

    def app():
        device = open_device()
        control(device, HV_VIRTUALISE, BY_IPI)
        _, address = hide(device, "NtCreateFile")
        places.append(address)
        echo = CreateFile(r"\\.\Echo", GENERIC_READ | GENERIC_WRITE, 0, None, 3, 0, None)
        CloseHandle(echo)
        Sleep(50)
        heard.extend(events(device))
        CloseHandle(device)

    run(app, processors, before=[C / "echo.sys"])
    assert [(event.reason, event.rip) for event in heard] == [(BREAKPOINT, places[0])]
    assert heard[0].detail >> 47 == 0  # RCX: the app's handle


SELDOM = """
from driver.hypervisor import monitor
from driver.hypervisor_system import DriverEntry

__all__ = ["DriverEntry"]
monitor.PERIOD = 60 * 1000
"""


@pytest.mark.parametrize("processors", [1, 2, 4])
def test_patch_protection_does_not_see_a_hidden_breakpoint(tmp_path, processors):
    """It reads the page: a violation, which is let through to the original, and reported."""
    heard, places = [], []

    def app():
        device = open_device()
        control(device, HV_VIRTUALISE, BY_IPI)
        places.append(hide(device, "IofCompleteRequest")[1])
        Sleep(12 * 60 * 1000)
        heard.extend(events(device))
        CloseHandle(device)

    shutil.copytree(samples_root() / "driver", tmp_path / "driver")
    path = tmp_path / "driver" / "seldom.py"
    path.write_text(SELDOM)
    with ntsim.Machine(processors=processors) as machine:
        machine.load_driver(C / "echo.sys")
        driver = machine.load_driver(path)
        process = machine.run(app)
        assert process.exit_code == 0, process.stderr
        machine.unload_driver(driver)
        machine.run_until_idle()
        assert machine.bugcheck is None
    assert heard
    for event in heard:
        assert (event.reason, event.detail & 7) == (EPT_VIOLATION, READ)
        assert event.value & ~0xFFF == places[0] & ~0xFFF


FROM_USER_MODE = """
from driver.hypervisor import exits
from driver.hypervisor.fields import GUEST_SS_AR_BYTES
from driver.hypervisor_system import DriverEntry
from driver.vmx_guest import vmread

__all__ = ["DriverEntry"]


def WithDpl3(Field):
    return vmread(Field) | 3 << 5 if Field == GUEST_SS_AR_BYTES else vmread(Field)


exits.vmread = WithDpl3
"""


def test_vmcall_from_user_mode_is_an_invalid_opcode(tmp_path):
    """An app is Python here and executes no VMCALL, so the exit is made to look like one of its."""

    def app():
        device = open_device()
        control(device, HV_VIRTUALISE, BY_IPI)
        control(device, HV_WATCH_MSR, LSTAR)

    shutil.copytree(samples_root() / "driver", tmp_path / "driver")
    path = tmp_path / "driver" / "from_user_mode.py"
    path.write_text(FROM_USER_MODE)
    with ntsim.Machine(processors=2) as machine:
        machine.load_driver(path)
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.run(app)
    assert (caught.value.code, caught.value.parameters[0]) == (0x3B, 0xC000001D)
