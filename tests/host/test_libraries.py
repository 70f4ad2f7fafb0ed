"""Export drivers that are loaded because a driver imports from them: driver/c/export.c.

Source: WDK, "Creating Export Drivers".
"""

from pathlib import Path

import pytest

from ntsim.abi import ntstatus
from ntsim.errors import DriverLoadError

DRIVERS = Path(__file__).parents[2] / "driver/c"
EXPORT, HELLO = ((DRIVERS / f"{name}.sys").read_bytes() for name in ("export", "hello"))
BEGIN = "DllInitialize: \\REGISTRY\\MACHINE\\SYSTEM\\ControlSet001\\Services\\Export"


@pytest.fixture
def folder(tmp_path) -> Path:
    """export.sys, and two drivers that print through it."""
    (tmp_path / "Export.sys").write_bytes(EXPORT)
    user = HELLO.replace(b"DbgPrint\0", b"LibPrint\0").replace(
        b"ntoskrnl.exe\0", b"export.sys\0\0\0"
    )
    for name in ("one", "two"):
        (tmp_path / f"{name}.sys").write_bytes(user)
    return tmp_path


def test_an_export_driver_is_loaded_with_the_first_and_unloaded_with_the_last(
    ntsim_machine, folder
) -> None:
    machine = ntsim_machine()
    one, two = (machine.load_driver(folder / f"{name}.sys") for name in ("one", "two"))
    assert machine.debug_output[:2] == [BEGIN, "LibPrint"]
    assert machine.debug_output.count(BEGIN) == 1
    machine.unload_driver(one)
    assert machine.debug_output[-2:] == ["LibPrint", "bye"]
    machine.unload_driver(two)
    assert machine.debug_output[-3:] == ["LibPrint", "bye", "DllUnload"]
    assert not machine.nt.host.native.loader.loaded


def test_an_export_driver_is_a_module_of_the_system(ntsim_machine, folder) -> None:
    machine = ntsim_machine()
    machine.load_driver(folder / "one.sys")
    native = machine.nt.host.native
    library = next(n for n in native.loader.loaded.values() if n.image.file_name == "Export.sys")
    assert machine.nt.describe_address(library.image.base + library.pe.exports["LibPrint"]) == (
        "Export!LibPrint"
    )
    with pytest.raises(DriverLoadError, match="loaded already") as caught:
        machine.load_driver(folder / "Export.sys")
    assert caught.value.status == ntstatus.STATUS_IMAGE_ALREADY_LOADED


def test_a_failing_dllinitialize_fails_the_load(ntsim_machine, folder) -> None:
    code = bytearray(EXPORT)
    machine = ntsim_machine()
    machine.stub("DbgPrint", 0)
    place = code.index(bytes.fromhex("31c0"))  # xor eax, eax: of DllInitialize, the first
    code[place : place + 2] = bytes.fromhex("f7d0")  # not eax
    (folder / "Export.sys").write_bytes(code)
    with pytest.raises(DriverLoadError, match=r"DllInitialize of Export\.sys returned"):
        machine.load_driver(folder / "one.sys")
    assert not machine.nt.host.native.loader.loaded


def test_a_module_that_is_not_there_is_named(ntsim_machine, folder) -> None:
    (folder / "Export.sys").unlink()
    with pytest.raises(DriverLoadError, match=r"export\.sys, which is neither loaded nor beside"):
        ntsim_machine().load_driver(folder / "one.sys")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (b"wdfldr.sys", r"wdfldr\.sys, KMDF's loader: ntsim runs WDM drivers"),
        (b"msvcrt.dll", "which is for user mode: link a driver with ntoskrnl.lib alone"),
    ],
)
def test_a_module_of_windows_is_told_from_a_missing_file(
    ntsim_machine, folder, module: bytes, words: str
) -> None:
    file = folder / "one.sys"
    file.write_bytes(file.read_bytes().replace(b"export.sys", module))
    with pytest.raises(DriverLoadError, match=words):
        ntsim_machine().load_driver(file)
