"""WHY, for what is found on the way back from a system call: the forum's crash first of all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ntsim
from ntsim.watch.report import CrashReport
from tests.watch.conftest import Write, open_device

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """\
    Link = UNICODE_STRING("\\\\DosDevices\\\\Bad")
    Name = UNICODE_STRING("\\\\Device\\\\Bad")

    def DriverEntry(DriverObject, RegistryPath):
        IoCreateDevice(DriverObject, 0, Name, FILE_DEVICE_UNKNOWN, 0, FALSE)
        IoCreateSymbolicLink(Link, Name)
        DriverObject.MajorFunction[IRP_MJ_CREATE] = create
        return STATUS_SUCCESS

    def create(DeviceObject, Irp):
        enter(Irp)
        Irp.IoStatus.Status = STATUS_SUCCESS
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS
"""


def crash_of(driver: Path, app: Path | Callable[[], Any], **options: Any) -> CrashReport:
    with ntsim.Machine(**options) as machine:
        machine.load_driver(driver)
        with pytest.raises(ntsim.BugCheck):
            machine.run(app, name="EHApp.exe")
        report: CrashReport = machine.report()
        return report


@pytest.fixture(scope="module")
def forum() -> CrashReport:
    """The forum's driver and app."""
    return crash_of(ROOT / "driver/eh.py", ROOT / "userapp/ehapp.py")


def test_the_forum_crash_blames_the_user_mode_stub_as_the_dump_does(forum: CrashReport) -> None:
    assert forum.code == 0x4A
    assert forum.symbol_name == "ntdll!NtDeviceIoControlFile+14"
    assert (forum.module_name, forum.image_name) == ("ntdll", "ntdll.dll")
    assert forum.bucket == "RAISED_IRQL_USER_FAULT_ntdll!NtDeviceIoControlFile"
    assert forum.process == "EHApp.exe"
    first, second, third, fourth = (each.value for each in forum.arguments)
    assert (first, second, third) == (0x7FFFA6AEBEA4, 2, 0)
    assert fourth >> 40 == 0xFFFFF1


def test_the_forum_crash_has_the_user_frames_of_the_dump(forum: CrashReport) -> None:
    shown = [f"{frame.module}!{frame.symbol}+{frame.offset:#x}" for frame in forum.stack]
    start = shown.index("ntdll!NtDeviceIoControlFile+0x14")
    assert shown[start : start + 3] == [
        "ntdll!NtDeviceIoControlFile+0x14",
        "KERNELBASE!DeviceIoControl+0x6b",
        "KERNEL32!DeviceIoControlImplementation+0x81",
    ]
    assert shown[start + 3].startswith("EHApp!run+")
    assert shown[start + 4].startswith("EHApp!main+")
    assert forum.stack[start + 4].file.endswith("ehapp.py")
    assert forum.stack[-1].return_address == 0
    assert forum.stack[-1].user


def test_the_forum_crash_is_told_from_the_app_s_call_to_the_return(forum: CrashReport) -> None:
    places = [step.where.partition(" ")[2] for step in forum.why]
    texts = [step.text for step in forum.why]
    order = ["run", "run_vcpu", "vmx_start", "enter_guest", "pass_control_to_usermode", "complete"]
    assert [places.index(each) for each in order] == sorted(places.index(each) for each in order)
    raised = texts[places.index("run_vcpu")]
    assert "raised the IRQL from PASSIVE_LEVEL (0) to DISPATCH_LEVEL (2)" in raised
    assert "Nothing lowered it again. run_vcpu would at line" in raised
    assert any("EXIT_REASON_CPUID" in text and "resumed the guest" in text for text in texts)
    assert any("EXIT_REASON_IO_INSTRUCTION" in text and "RFLAGS with 2" in text for text in texts)
    restored = texts[places.index("pass_control_to_usermode")]
    assert "abandoned (pass_control_to_usermode, eh_exit_handler)" in restored
    assert texts[-3] == "NtDeviceIoControlFile returned STATUS_SUCCESS."
    assert "found the IRQL at DISPATCH_LEVEL (2)" in texts[-2]
    assert "Interrupts were off as well" in texts[-2]
    assert {step.processor for step in forum.why} == {forum.processor}


def test_the_forum_crash_shows_the_processor_in_vmx_root_with_interrupts_off(
    forum: CrashReport,
) -> None:
    processor = forum.processors[forum.processor]
    assert (processor.irql, processor.interrupts, processor.vmx) == (2, False, "root")


def test_a_file_opened_in_a_critical_region_that_is_not_left_is_0x1(write_driver: Write) -> None:
    path = write_driver(DRIVER + "\n    def enter(Irp):\n        KeEnterCriticalRegion()\n")
    report = crash_of(path, open_device)
    assert (report.code, report.arguments[2].value) == (0x1, 0xFFFF)
    assert report.symbol_name.startswith("ntdll!NtCreateFile+")
    assert "KeEnterCriticalRegion at bad.py:19 enter has no counterpart" in report.summary
    assert report.why[0].text == (
        "KeEnterCriticalRegion disabled kernel APCs. Nothing enabled them again."
    )


def test_a_spin_lock_released_to_the_wrong_level_says_where(write_driver: Write) -> None:
    source = """
    Lock = KSPIN_LOCK()

    def enter(Irp):
        KeAcquireSpinLock(Lock)
        KeReleaseSpinLock(Lock, DISPATCH_LEVEL)
    """
    report = crash_of(write_driver(DRIVER + source), open_device)
    assert report.code == 0x4A
    assert [step.where for step in report.why if "enter" in step.where] == [
        "bad.py:21 enter", "bad.py:22 enter",
    ]  # fmt: skip


def test_an_error_in_a_dispatch_routine_is_0x3b_at_that_line(write_driver: Write) -> None:
    source = "\n    def enter(Irp):\n        return {}[Irp.Size]\n"
    report = crash_of(write_driver(DRIVER + source), open_device)
    assert report.code == 0x3B
    assert report.exception is not None
    assert report.exception.context == report.arguments[2].value
    assert report.exception.traceback[-1].startswith("KeyError")
    assert "unhandled in a system call, in bad.py:19 enter" in report.summary
    assert f"STACK_COMMAND:  .cxr 0x{report.exception.context:x} ; kb" in report.to_text()


def test_irql_ff_in_an_exit_handler_names_the_vm_exit() -> None:
    report = crash_of(ROOT / "driver/vmexit_queue_wrong.py", ROOT / "userapp/vmexit_queue_app.py")
    assert report.irql == 0xFF
    assert report.summary.endswith("interrupts are off after a VM exit.")
    assert any("EXIT_REASON_VMCALL" in step.text for step in report.why)
