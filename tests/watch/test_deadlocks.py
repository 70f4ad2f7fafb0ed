"""Threads that wait for each other, and requests that nobody completes."""

import json

import pytest

import ntsim
from ntsim.cli import main
from ntsim.watch.hang import hang_text
from ntsim.wdm import *
from tests.watch.conftest import Write

LOCKS = {
    "mutex": (
        "KMUTEX", "KeInitializeMutex({}, 0)",
        "KeWaitForSingleObject({}, Executive, KernelMode, FALSE, NULL)",
    ),
    "fast mutex": ("FAST_MUTEX", "ExInitializeFastMutex({})", "ExAcquireFastMutex({})"),
    "guarded mutex": ("FAST_MUTEX", "KeInitializeGuardedMutex({})", "KeAcquireGuardedMutex({})"),
    "push lock": ("EX_PUSH_LOCK", "ExInitializePushLock({})", "ExAcquirePushLockExclusive({})"),
    "resource": (
        "ERESOURCE", "ExInitializeResourceLite({})", "ExAcquireResourceExclusiveLite({}, TRUE)",
    ),
}  # fmt: skip

CIRCLE = """\
A, B = {type}(), {type}()
One, Two = KEVENT(), KEVENT()

def first(Context):
    KeEnterCriticalRegion()
    {take_a}
    KeSetEvent(One, 0, FALSE)
    KeWaitForSingleObject(Two, Executive, KernelMode, FALSE, NULL)
    {take_b}

def second(Context):
    KeEnterCriticalRegion()
    {take_b}
    KeSetEvent(Two, 0, FALSE)
    KeWaitForSingleObject(One, Executive, KernelMode, FALSE, NULL)
    {take_a}

def DriverEntry(DriverObject, RegistryPath):
    {init_a}
    {init_b}
    KeInitializeEvent(One, NotificationEvent, FALSE)
    KeInitializeEvent(Two, NotificationEvent, FALSE)
    Status, Handle = PsCreateSystemThread(0, NULL, NULL, NULL, first, NULL)
    PsCreateSystemThread(0, NULL, NULL, NULL, second, NULL)
    Status, Thread = ObReferenceObjectByHandle(Handle, 0, NULL, KernelMode, NULL)
    KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL)
    return STATUS_SUCCESS
"""


def circle(kind: str, text: str = CIRCLE) -> str:
    type_, init, take = LOCKS[kind]
    return text.format(
        type=type_, init_a=init.format("A"), init_b=init.format("B"), take_a=take.format("A"),
        take_b=take.format("B"),
    )  # fmt: skip


def hang_of(path, **options) -> tuple[ntsim.Hang, str]:
    with ntsim.Machine(**options) as machine:
        with pytest.raises(ntsim.Hang) as caught:
            machine.load_driver(path)
        return caught.value, hang_text(machine.nt, caught.value)


@pytest.mark.parametrize("kind", LOCKS)
def test_two_threads_that_wait_for_each_other_are_named(kind: str, write_driver: Write) -> None:
    """With what each wants, where it waits, who has it and where that one got it."""
    hang, text = hang_of(write_driver(circle(kind)))
    head, explained = hang.reason.split(": ", 1)
    one, two = head.removesuffix(" wait for each other").split(" and ")
    first, second = explained.split(". ")
    assert first.startswith(f"{one} waits at bad.py:11 first for {kind} 0x")
    assert first.endswith(f"; {two} holds it since bad.py:15 second")
    assert second.startswith(f"{two} waits at bad.py:18 second for {kind} 0x")
    assert second.endswith(f"; {one} holds it since bad.py:8 first")
    assert text.startswith(f"HANG: {one} and {two} wait for each other, at ")
    assert f"the end of {one}: {one} has not ended" in text.replace("; ", ": ")


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        ("fast mutex", "ExAcquireFastMutex(A)"),
        ("guarded mutex", "KeAcquireGuardedMutex(A)"),
        ("push lock", "ExAcquirePushLockShared(A)"),
        ("resource", "ExAcquireResourceSharedLite(A, TRUE)"),
    ],
)
def test_a_thread_can_wait_for_itself(kind: str, before: str, write_driver: Write) -> None:
    """A lock that is not recursive, and one that is shared before it is wanted alone."""
    type_, init, take = LOCKS[kind]
    source = f"""\
        A = {type_}()

        def DriverEntry(DriverObject, RegistryPath):
            {init.format("A")}
            KeEnterCriticalRegion()
            {before}
            {take.format("A")}
            return STATUS_SUCCESS
        """
    hang, _ = hang_of(write_driver(source))
    head, explained = hang.reason.split(": ", 1)
    assert head.endswith(" waits for itself")
    assert explained.endswith("; it holds it since bad.py:8 DriverEntry")
    assert f"waits at bad.py:9 DriverEntry for {kind} 0x" in explained


def test_a_mutex_that_was_handed_on_was_got_where_its_owner_waited(write_driver: Write) -> None:
    """The release that ended the wait is another thread's line."""
    source = """\
        A, B, Ready = KMUTEX(), KMUTEX(), KEVENT()

        def worker(Context):
            KeWaitForSingleObject(B, Executive, KernelMode, FALSE, NULL)
            KeSetEvent(Ready, 0, FALSE)
            KeWaitForSingleObject(A, Executive, KernelMode, FALSE, NULL)
            KeWaitForSingleObject(B, Executive, KernelMode, FALSE, NULL)
            KeWaitForSingleObject(Context, Executive, KernelMode, FALSE, NULL)

        def DriverEntry(DriverObject, RegistryPath):
            KeInitializeMutex(A, 0)
            KeInitializeMutex(B, 0)
            KeInitializeEvent(Ready, NotificationEvent, FALSE)
            KeWaitForSingleObject(A, Executive, KernelMode, FALSE, NULL)
            Mine = KeGetCurrentThread()
            PsCreateSystemThread(0, NULL, NULL, NULL, worker, Mine)
            KeWaitForSingleObject(Ready, Executive, KernelMode, FALSE, NULL)
            KeReleaseMutex(A, FALSE)
            KeWaitForSingleObject(B, Executive, KernelMode, FALSE, NULL)
            return STATUS_SUCCESS
        """
    hang, text = hang_of(write_driver(source), processors=1)
    assert "waits at bad.py:10 worker for the end of thread" in hang.reason
    assert "holds it since bad.py:6 worker" in hang.reason
    assert "has not ended" in text


def test_a_lock_held_while_waiting_for_a_request_whose_driver_wants_the_lock(
    write_driver: Write,
) -> None:
    """The worker has the IRP in a variable: the circle goes through the request."""
    source = """\
        Lock, Done = ERESOURCE(), KEVENT()

        def worker(Context):
            Irp = cast(Context, PIRP)
            KeEnterCriticalRegion()
            ExAcquireResourceSharedLite(Lock, TRUE)
            IoCompleteRequest(Irp, IO_NO_INCREMENT)

        def flush(DeviceObject, Irp):
            IoMarkIrpPending(Irp)
            PsCreateSystemThread(0, NULL, NULL, NULL, worker, Irp)
            return STATUS_PENDING

        def DriverEntry(DriverObject, RegistryPath):
            ExInitializeResourceLite(Lock)
            KeInitializeEvent(Done, NotificationEvent, FALSE)
            DriverObject.MajorFunction[IRP_MJ_FLUSH_BUFFERS] = flush
            Status, Device = IoCreateDevice(DriverObject, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE)
            Result = IO_STATUS_BLOCK()
            Irp = IoBuildSynchronousFsdRequest(
                IRP_MJ_FLUSH_BUFFERS, Device, NULL, 0, NULL, Done, Result
            )
            KeEnterCriticalRegion()
            ExAcquireResourceExclusiveLite(Lock, TRUE)
            IoCallDriver(Device, Irp)
            KeWaitForSingleObject(Done, Executive, KernelMode, FALSE, NULL)
            return STATUS_SUCCESS
        """
    hang, _ = hang_of(write_driver(source))
    assert "wait for each other" in hang.reason
    assert "has it in Irp of worker" in hang.reason
    assert "holds it since bad.py:26 DriverEntry" in hang.reason


TIMER = """
Timer, Dpc, Due = KTIMER(), KDPC(), LARGE_INTEGER()
_entry = DriverEntry

def DriverEntry(DriverObject, RegistryPath):
    KeInitializeTimer(Timer)
    KeInitializeDpc(Dpc, lambda *_: None, NULL)
    Due.QuadPart = -10_000_000
    KeSetTimerEx(Timer, Due, 1000, Dpc)
    return _entry(DriverObject, RegistryPath)
"""


def test_a_timer_that_goes_on_for_ever_does_not_hide_a_deadlock(write_driver: Write) -> None:
    hang, _ = hang_of(write_driver(circle("fast mutex") + TIMER))
    assert "wait for each other" in hang.reason


# Requests

HOLDER = """\
Name, Link = UNICODE_STRING("\\\\Device\\\\Bad"), UNICODE_STRING("\\\\DosDevices\\\\Bad")

def DriverEntry(DriverObject, RegistryPath):
    Status, Device = IoCreateDevice(DriverObject, 0, Name, FILE_DEVICE_UNKNOWN, 0, FALSE)
    IoCreateSymbolicLink(Link, Name)
    DriverObject.MajorFunction[IRP_MJ_CREATE] = create
    DriverObject.DriverStartIo = lambda DeviceObject, Irp: None
    prepare(Device)
    return STATUS_SUCCESS

def prepare(DeviceObject):
    pass

def cancel(DeviceObject, Irp):
    IoReleaseCancelSpinLock(Irp.CancelIrql)

"""

QUEUE = """\
Csq, Lock, Waiting = IO_CSQ(), KSPIN_LOCK(), LIST_ENTRY()

def prepare(DeviceObject):
    InitializeListHead(Waiting)
    KeInitializeSpinLock(Lock)
    IoCsqInitialize(Csq, insert, remove, peek, acquire, release, cancelled)

def insert(Csq, Irp):
    InsertTailList(Waiting, Irp.Tail.Overlay.ListEntry)

def remove(Csq, Irp):
    RemoveEntryList(Irp.Tail.Overlay.ListEntry)

def peek(Csq, Irp, Context):
    return NULL

def acquire(Csq, Irql):
    Irql[0] = KeAcquireSpinLockRaiseToDpc(Lock)

def release(Csq, Irql):
    KeReleaseSpinLock(Lock, Irql)

def cancelled(Csq, Irp):
    pass

def create(DeviceObject, Irp):
    IoCsqInsertIrp(Csq, Irp, NULL)
    return STATUS_PENDING
"""


@pytest.mark.parametrize(
    ("source", "state"),
    [
        (
            "def create(DeviceObject, Irp):\n    return STATUS_PENDING\n",
            "not marked pending, no cancel routine: not even the end of its thread completes it",
        ),
        (
            "def create(DeviceObject, Irp):\n    IoSetCancelRoutine(Irp, cancel)\n"
            "    IoMarkIrpPending(Irp)\n    return STATUS_PENDING\n",
            "pending, cancel routine bad!cancel",
        ),
        (
            "def create(DeviceObject, Irp):\n    IoMarkIrpPending(Irp)\n"
            "    IoStartPacket(DeviceObject, Irp, NULL, NULL)\n    return STATUS_PENDING\n",
            "pending, the current IRP of device 0x",
        ),
        (QUEUE, "pending, in a cancel-safe queue"),
    ],
)
def test_a_request_that_nobody_completes_says_where_it_is(
    source: str, state: str, write_driver: Write
) -> None:
    path = write_driver(HOLDER + source)
    with ntsim.Machine() as machine:
        machine.load_driver(path)
        with pytest.raises(ntsim.Hang) as caught:
            machine.run(open_bad, name="app.exe")
        reason = caught.value.reason
    assert reason.startswith("every processor is idle: app.exe thread ")
    assert "(IRP_MJ_CREATE) is with \\Driver\\bad, given to bad!create at " in reason
    assert f" us: {state}" in reason


def open_bad() -> None:
    from ntsim import win32

    access = win32.GENERIC_READ
    win32.CreateFile("\\\\.\\Bad", access, 0, None, win32.OPEN_EXISTING, 0, None)


# The command line

SPINS = """\
def DriverEntry(DriverObject, RegistryPath):
    KeSetSystemAffinityThread(1 << 1)
    {raised}
    while True:
        KeGetCurrentIrql()
"""


@pytest.mark.parametrize(
    ("raised", "code"), [("KeRaiseIrqlToDpcLevel()", "0x133"), ("_disable()", "0x101")]
)
def test_the_command_line_finds_processors_that_hang(
    raised: str, code: str, write_driver: Write, capsys
) -> None:
    path = write_driver(SPINS.format(raised=raised))
    assert main(["run", str(path), "--processors", "2", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["outcome"], result["bugcheck"]["code"]) == ("bugcheck", code)


def test_the_command_line_finds_threads_that_hang(write_driver: Write, capsys) -> None:
    path = write_driver(circle("fast mutex"))
    assert main(["run", str(path), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["outcome"] == "hang"
    assert " wait for each other: thread " in result["error"]["message"]
    assert main(["run", str(path)]) == 1
    assert " holds it since bad.py:15 second" in capsys.readouterr().out
