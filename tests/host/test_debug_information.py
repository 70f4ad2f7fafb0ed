"""Names and lines of compiled drivers, and what a report shows of the code that crashed."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from driver.c.mistakes_ioctl import CODES
from ntsim.errors import BugCheck
from ntsim.win32 import *

C = Path(__file__).parents[2] / "driver/c"


def crash(machine, path: Path, mistake: str):
    machine.load_driver(path)

    def app() -> None:
        access = GENERIC_READ | GENERIC_WRITE
        handle = CreateFile(r"\\.\Mistakes", access, 0, None, OPEN_EXISTING, 0, None)
        DeviceIoControl(handle, CODES[mistake], b"", 16)

    with pytest.raises(BugCheck):
        machine.run(app)
    return machine.report()


def test_a_report_shows_the_registers_and_the_instruction_that_faulted(ntsim_machine) -> None:
    report = crash(ntsim_machine(), C / "mistakes.sys", "touch_at_dispatch")
    registers = report.registers
    assert report.code == 0xD1
    assert registers.values["rip"] == report.arguments[3].value
    assert registers.values["rcx"] == report.arguments[0].value
    (faulting,) = [line for line in registers.code if line.startswith(">")]
    assert faulting.split()[0] == f">{registers.values['rip']:016x}"
    assert "mov dword ptr [rcx], 1" in faulting
    assert len(registers.code) == 6
    assert f"rip={registers.values['rip']:016x}" in report.to_text()


def test_the_context_record_of_0x3b_holds_every_register(ntsim_machine) -> None:
    machine = ntsim_machine()
    report = crash(machine, C / "mistakes.sys", "null_pointer")
    assert report.code == 0x3B
    data = machine.nt.mmu.read(report.arguments[2].value, 0x4D0)
    general = struct.unpack_from("<17Q", data, 0x78)
    values = report.registers.values
    names = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15 rip"
    assert general == tuple(values[name] for name in names.split())
    assert struct.unpack_from("<6H", data, 0x38) == (0x10, 0x2B, 0x2B, 0x53, 0x2B, 0x18)
    assert struct.unpack_from("<I", data, 0x34) == (0x1F80,)
    assert report.exception.address == values["rip"]


def test_a_python_driver_has_no_registers_to_show(ntsim_machine) -> None:
    machine = ntsim_machine()
    with pytest.raises(BugCheck):
        machine.load_driver(lambda DriverObject, RegistryPath: 1 // 0)
    assert machine.report().registers is None


def test_without_debug_information_the_report_says_how_to_get_it(ntsim_machine) -> None:
    report = crash(ntsim_machine(), C / "mistakes.sys", "null_pointer")
    assert "put mistakes.pdb beside mistakes.sys" in report.registers.symbols
    assert "pip install 'ntsim[native]'" in report.registers.symbols


def test_a_pdb_that_nothing_can_read_is_named(ntsim_machine, tmp_path, monkeypatch) -> None:
    shutil.copy(C / "mistakes.sys", tmp_path)
    (tmp_path / "mistakes.pdb").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "symbolic.debuginfo", None)
    report = crash(ntsim_machine(), tmp_path / "mistakes.sys", "null_pointer")
    assert "to read mistakes.pdb, pip install" in report.registers.symbols


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """mistakes.sys with DWARF, and its PDB."""
    ziglang = pytest.importorskip("ziglang")
    pytest.importorskip("symbolic")
    folder = tmp_path_factory.mktemp("debug")
    include = Path(ziglang.__file__).parent / "lib/libc/include/any-windows-any"
    flags = (
        "-target x86_64-windows-gnu -O1 -gdwarf-4 -fms-extensions -fno-stack-protector "
        "-fno-sanitize=all -fasynchronous-unwind-tables -mno-avx -nostdlib -shared "
        "-Wl,--subsystem,native -Wl,--entry,DriverEntry"
    )
    command = (
        *(sys.executable, "-m", "ziglang", "cc", *flags.split()),
        *("-isystem", str(include), "-isystem", str(include / "ddk")),
        *("-o", str(folder / "mistakes.sys"), str(C / "mistakes.c"), "-lntoskrnl", "-lhal"),
    )
    subprocess.run(command, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("source", ["mistakes.pdb", "DWARF", "another build"])
def test_names_and_lines_come_from_a_pdb_or_from_dwarf(
    ntsim_machine, built, tmp_path, source
) -> None:
    shutil.copy(built / "mistakes.sys", tmp_path)
    data = bytearray((built / "mistakes.pdb").read_bytes())
    if source == "mistakes.pdb":
        (tmp_path / "mistakes.pdb").write_bytes(data)
    elif source == "another build":
        guid = bytes((built / "mistakes.sys").read_bytes().partition(b"RSDS")[2][:16])
        assert guid in data
        (tmp_path / "mistakes.pdb").write_bytes(data.replace(guid, bytes(16)))
    else:
        (tmp_path / "mistakes.pdb").unlink(missing_ok=True)
    report = crash(ntsim_machine(), tmp_path / "mistakes.sys", "null_pointer")
    frame = report.stack[0]
    assert (frame.module, frame.symbol) == ("mistakes", "Control")
    assert Path(frame.file).name == "mistakes.c"
    line = (C / "mistakes.c").read_text().splitlines()[frame.line - 1]
    assert "8" in line
    assert "=" in line
    wanted = "DWARF" if source != "mistakes.pdb" else "mistakes.pdb"
    assert wanted in report.registers.symbols
