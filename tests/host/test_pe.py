"""Reading and mapping compiled drivers: what is refused and why, what lies where afterwards."""

import random
import struct
from pathlib import Path

import pytest

from ntsim.abi import ntstatus
from ntsim.abi.known_exports import VARIABLES
from ntsim.errors import DriverLoadError, UnmodelledRoutine
from ntsim.host.export_names import Standing, standing
from ntsim.host.export_table import ExportTable
from ntsim.host.kernel_variables import VALUES
from ntsim.host.native_image import ImageLoader
from ntsim.host.pe import Import, PeError, PeFile
from ntsim.hw.mmu import EXECUTE, WRITE

DRIVERS = Path(__file__).parents[2] / "driver/c"
HELLO = (DRIVERS / "hello.sys").read_bytes()
PE = int.from_bytes(HELLO[0x3C:0x40], "little")


def patched(offset: int, value: int, size: int = 2) -> bytes:
    """hello.sys with one number of its PE header changed."""
    at = PE + offset
    return HELLO[:at] + value.to_bytes(size, "little") + HELLO[at + size :]


@pytest.mark.parametrize(
    ("data", "words", "status"),
    [
        (b"", "does not begin with MZ", ntstatus.STATUS_INVALID_IMAGE_NOT_MZ),
        (b"\x7fELF" + bytes(99), "for Linux.*begin with MZ", ntstatus.STATUS_INVALID_IMAGE_NOT_MZ),
        (b"PK\3\4" + bytes(200), "a ZIP archive; unpack it", ntstatus.STATUS_INVALID_IMAGE_NOT_MZ),
        (HELLO[:0x50], "ends before its PE header", ntstatus.STATUS_INVALID_IMAGE_FORMAT),
        (HELLO[: PE + 10], "middle of the file header", ntstatus.STATUS_INVALID_IMAGE_FORMAT),
        (HELLO[:0x600], "middle of section", ntstatus.STATUS_INVALID_IMAGE_FORMAT),
        (patched(4, 0x14C), "32-bit x86", ntstatus.STATUS_INVALID_IMAGE_FORMAT),
        (patched(4, 0xAA64), "ARM64", ntstatus.STATUS_INVALID_IMAGE_FORMAT),
        (patched(24, 0x10B), "32-bit \\(PE32\\)", ntstatus.STATUS_INVALID_IMAGE_FORMAT),
        (patched(24 + 68, 3), "console application", ntstatus.STATUS_INVALID_IMAGE_FORMAT),
        (patched(24 + 16, 0, 4), "no entry point", ntstatus.STATUS_DRIVER_ENTRYPOINT_NOT_FOUND),
    ],
)
def test_a_file_that_windows_would_not_load_says_why(data, words, status) -> None:
    with pytest.raises(PeError, match=words) as caught:
        PeFile(data)
    assert caught.value.status == status


@pytest.mark.parametrize("odd", [b"", b"!"])
def test_a_driver_whose_checksum_does_not_match_is_refused(loader, tmp_path, odd) -> None:
    """LdrVerifyMappedImageMatchesChecksum: 0 stands for none. The right one was computed by
    CheckSumMappedFile's rule as sdk-api has it, words with carry and the file's length."""
    data = patched(24 + 64, 0, 4) + odd
    words = [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]
    total = 0
    for word in words:
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    at, right = PE + 24 + 64, total + len(data)
    for value in (right, right + 1):
        file = tmp_path / f"sum{value}.sys"
        file.write_bytes(data[:at] + value.to_bytes(4, "little") + data[at + 4 :])
    loader.load(tmp_path / f"sum{right}.sys")
    with pytest.raises(DriverLoadError, match=r"its checksum is wrong.*editbin") as caught:
        loader.load(tmp_path / f"sum{right + 1}.sys")
    assert caught.value.status == ntstatus.STATUS_IMAGE_CHECKSUM_MISMATCH


def test_a_driver_without_relocations_is_refused_where_it_cannot_lie(loader, tmp_path) -> None:
    """LdrRelocateImageWithBias: RELOCS_STRIPPED is a conflict at any base but its own. A file that
    merely has no relocations needs none."""
    flags = int.from_bytes(HELLO[PE + 22 : PE + 24], "little")
    fixed = tmp_path / "fixed.sys"
    fixed.write_bytes(patched(22, flags | 1))
    with pytest.raises(DriverLoadError, match=r"without relocations.*/FIXED:NO") as caught:
        loader.load(fixed)
    assert caught.value.status == ntstatus.STATUS_CONFLICTING_ADDRESSES
    assert not PeFile(HELLO).stripped


def test_functions_are_named_by_the_coff_symbols_of_the_file(loader, tmp_path) -> None:
    pe = PeFile(HELLO)
    number, text = next((i, s) for i, s in enumerate(pe.sections, 1) if s.executable)
    first = pe.functions[0].begin
    assert text.address <= first < text.end
    symbols = [
        (b".text\0\0\0", 0, number, 0, 3),
        (b"Static\0\0", first - text.address, number, 0x20, 3),
        (b"\0\0\0\0\4\0\0\0", first - text.address, number, 0x20, 2),
        (b"Nowhere\0", 0, 77, 0x20, 2),
    ]
    table = b"".join(struct.pack("<8sIhHBB", *each, 0) for each in symbols)
    data = patched(12, len(HELLO) | len(symbols) << 32, 8) + table
    file = tmp_path / "hello.sys"
    name = b"AFunctionOfLongName\0"
    file.write_bytes(data + struct.pack("<I", 4 + len(name)) + name)
    image = loader.load(file).image
    assert image.describe(image.base + first + 1) == "hello!AFunctionOfLongName+0x1"
    assert image.symbols_note.startswith("names are its COFF symbols")
    file.write_bytes(data[:-10])  # the table ends in the middle
    assert "Static" not in [symbol.name for symbol in loader.load(file, "other.sys").image.symbols]


def test_damaged_files_give_pe_errors_and_nothing_else() -> None:
    numbers = random.Random(1)
    data = (DRIVERS / "echo.sys").read_bytes()
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(numbers.randint(1, 6)):
            damaged[numbers.randrange(0x400)] = numbers.randrange(256)
        try:
            found = PeFile(bytes(damaged[: numbers.randrange(len(data)) or None]))
            assert [*found.imports, *found.functions, *found.relocations(), found.exports]
        except PeError:
            pass


@pytest.fixture
def loader(ntsim_machine):
    nt = ntsim_machine().nt
    return ImageLoader(nt, ExportTable(nt, nt.host.kernel_image))


def test_sections_have_the_rights_that_the_file_asks_for(loader) -> None:
    loaded = loader.load(DRIVERS / "echo.sys")
    mmu, base = loader.nt.mmu, loaded.image.base
    for section in loaded.pe.sections:
        va = base + section.address
        assert (mmu.probe(va, WRITE) is not None) == section.writable, section.name
        assert (mmu.probe(va, EXECUTE) is not None) == section.executable, section.name


def test_addresses_in_the_image_are_relocated(loader) -> None:
    loaded = loader.load(DRIVERS / "echo.sys")
    base = loaded.image.base
    values = [loader.nt.read_pointer(base + place) for place in loaded.pe.relocations()]
    assert values
    assert all(value in loaded.image for value in values)


def test_import_slots_hold_the_addresses_of_export_bodies(loader) -> None:
    loaded = loader.load(DRIVERS / "echo.sys")
    for wanted in loaded.pe.imports:
        address = loader.nt.read_pointer(loaded.image.base + wanted.slot)
        assert loader.nt.describe_address(address) == f"nt!{wanted.name}"
        body = loader.nt.mmu.read(address, 32)
        assert body[:5] == bytes.fromhex("48894c2408")
        assert body[25:27] == b"\xf4\xc3"


def test_a_routine_that_windows_does_not_have_fails_the_load(loader, tmp_path) -> None:
    file = tmp_path / "wrong.sys"
    file.write_bytes(HELLO.replace(b"DbgPrint\0", b"DbgPrunt\0"))
    with pytest.raises(DriverLoadError, match="DbgPrunt") as caught:
        loader.load(file)
    assert caught.value.status == ntstatus.STATUS_PROCEDURE_NOT_FOUND
    assert not loader.loaded


def test_a_driver_with_cpp_exceptions_is_told_that_the_kernel_has_no_runtime(
    loader, tmp_path
) -> None:
    file, name = tmp_path / "cpp.sys", b"IoCreateSymbolicLink\0"
    image = (DRIVERS / "echo.sys").read_bytes()
    file.write_bytes(image.replace(name, b"__CxxFrameHandler4".ljust(len(name), b"\0")))
    with pytest.raises(DriverLoadError, match=r"__CxxFrameHandler4 .*C\+\+ exceptions"):
        loader.load(file)


def test_the_entry_section_leaves_memory_after_driver_entry(loader) -> None:
    loaded = loader.load(DRIVERS / "hello.sys")
    assert loader.nt.mmu.probe(loaded.entry) is not None
    loader.discard_init(loaded)
    assert loader.nt.mmu.probe(loaded.entry) is None
    loader.unload(loaded)
    assert loader.nt.mmu.probe(loaded.image.base) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IofCompleteRequest", Standing.MODELLED),
        ("IoCallDriver", Standing.MODELLED),
        ("CcZeroData", Standing.UNMODELLED),
        ("PsThreadType", Standing.VARIABLE),
        ("TmTransactionObjectType", Standing.UNMODELLED_VARIABLE),
        ("KeGetCurrentIrql", Standing.MODELLED),
        ("KeRaiseIrqlToDpcLevel", Standing.MODELLED),
        ("CcRemapBcb", Standing.UNMODELLED),
        ("READ_PORT_UCHAR", Standing.UNKNOWN),  # inline: mov rax, cr8
        ("Speculate", Standing.UNKNOWN),
    ],
)
def test_names_are_modelled_known_or_unknown(name, expected) -> None:
    assert standing(name) is expected


LIBRARY = (DRIVERS / "library.sys").read_bytes()


def place_in_file(pe: PeFile, address: int) -> int:
    """File offset of an address in an image whose sections lie in the file as in memory."""
    section = next(s for s in pe.sections if s.address <= address < s.end)
    return pe.data.index(section.data) + address - section.address


def importing_number(number: int) -> bytes:
    """hello.sys with its import of DbgPrint made one of library.sys, by number."""
    pe = PeFile(HELLO)
    table = pe.number(pe.directory(1)[0], 4)
    at = place_in_file(pe, table)
    data = bytearray(HELLO)
    data[at : at + 8] = (1 << 63 | number).to_bytes(8, "little")
    return bytes(data).replace(b"ntoskrnl.exe\0", b"library.sys\0\0")


def test_an_export_driver_is_imported_from_by_number(loader, tmp_path) -> None:
    library = loader.load(DRIVERS / "library.sys")
    assert sorted(library.pe.exports) == ["LibraryAdd", "LibraryCount"]
    for number, place in library.pe.ordinals.items():
        file = tmp_path / "client.sys"
        file.write_bytes(importing_number(number))
        client = loader.load(file)
        (wanted,) = client.pe.imports
        slot = client.image.base + wanted.slot
        assert loader.nt.read_pointer(slot) == library.image.base + place
    file.write_bytes(importing_number(77))
    with pytest.raises(DriverLoadError, match="number 77") as caught:
        loader.load(file)
    assert caught.value.status == ntstatus.STATUS_ORDINAL_NOT_FOUND


def test_a_forwarded_export_is_the_other_modules(loader, tmp_path) -> None:
    """LibraryAdd stands for hal!DbgPrint, whose name takes the place of LibraryCount's."""
    pe = PeFile(LIBRARY)
    directory = pe.directory(0)[0]
    functions, names = pe.number(directory + 0x1C, 4), pe.number(directory + 0x20, 4)
    at = place_in_file(pe, functions)
    data = bytearray(LIBRARY)
    data[at : at + 4] = pe.number(names + 4, 4).to_bytes(4, "little")
    (tmp_path / "library.sys").write_bytes(bytes(data).replace(b"LibraryCount", b"hal.DbgPrint"))
    loader.load(tmp_path / "library.sys")
    pe = PeFile(HELLO)
    (wanted,) = pe.imports
    forwarded = next(iter(loader.loaded.values())).pe.forwarders
    assert forwarded == {"LibraryAdd": "hal.DbgPrint"}
    bound = loader._bind(tmp_path, Import("LIBRARY.SYS", "LibraryAdd", None, wanted.slot))
    assert loader.nt.describe_address(bound) == "nt!DbgPrint"


def test_a_variable_that_is_not_modelled_stops_the_run_where_it_is_touched(
    ntsim_machine, tmp_path, monkeypatch
) -> None:
    monkeypatch.delitem(VALUES, "PsJobType")  # no name as short is left that has no value
    file = tmp_path / "client.sys"
    file.write_bytes(HELLO.replace(b"DbgPrint\0\0", b"PsJobType\0"))
    with pytest.raises(UnmodelledRoutine, match="PsJobType"):
        ntsim_machine().load_driver(file)


def test_a_string_that_the_kernel_exports_lies_whole_behind_the_other_variables(loader) -> None:
    image, mmu = loader.nt.host.kernel_image, loader.nt.mmu
    build = b"19041.1.amd64fre.vb_release.191206-1406\0"
    assert mmu.read(image.variable("NtBuildLab"), len(build)) == build
    for name, value in (
        ("InitSafeBootMode", 0),
        ("KdEnteredDebugger", 0),
        ("NlsAnsiCodePage", 1252),
        ("NlsOemCodePage", 437),
    ):
        assert standing(name) is Standing.VARIABLE
        assert loader.nt.read_pointer(image.variable(name)) == value
    assert len({image.variable(name) for name in VARIABLES}) == len(VARIABLES)
