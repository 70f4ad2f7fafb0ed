"""Images as compilers and linkers of other ages write them."""

from pathlib import Path

import pytest

from ntsim.errors import BugCheck
from tests.host.small_image import DATA, IMPORTS, TEXT, Code, write

ENTER, LEAVE = "4883ec28", "4883c428 33c0 c3"
"""sub rsp, 28h; add rsp, 28h, xor eax, eax, ret"""


@pytest.fixture
def loads(ntsim_machine, tmp_path: Path):
    """`loads(code, **header)`: the machine after DriverEntry."""

    def load(code: Code, **header):
        machine = ntsim_machine()
        machine.load_driver(write(tmp_path / "small.sys", code, **header))
        return machine

    return load


def hello(code: Code) -> Code:
    """DbgPrint of what begins the data, STATUS_SUCCESS."""
    return code.add(ENTER).to("488d0d", DATA).call("DbgPrint").add(LEAVE)


def test_a_large_frame_probes_its_stack(loads) -> None:
    """__chkstk keeps every register; the frame lies below it."""
    code = Code("DbgPrint", "__chkstk").add("b800200000")  # mov eax, 2000h
    code.add("41ba11111111 41bb22222222").call("__chkstk").add("482be0")  # sub rsp, rax
    code.add("c70424 41424344")  # mov dword ptr [rsp], "ABCD"
    code.to("488d0d", DATA).add("448bc8 458bc2 418bd3")  # r9d = eax, r8d = r10d, edx = r11d
    code.add("4883ec28").call("DbgPrint").add("4881c428200000 33c0 c3")
    assert loads(code, data=b"%x %x %x\0").debug_output == ["22222222 11111111 2000"]


def test_a_frame_that_does_not_fit_is_a_double_fault(loads) -> None:
    code = Code("__chkstk").add("b800600000").call("__chkstk").add("482be0 c60424 00")
    with pytest.raises(BugCheck) as caught:
        loads(code)
    assert (caught.value.code, caught.value.parameters[0]) == (0x7F, 8)


def test_a_pure_virtual_call_raises_not_implemented(loads) -> None:
    with pytest.raises(BugCheck) as caught:
        loads(Code("_purecall").add(ENTER).call("_purecall").add(LEAVE))
    assert (caught.value.code, caught.value.parameters[0]) == (0x7E, 0xC0000002)


@pytest.mark.parametrize("version", [(1, 10), (4, 0), (5, 2), (6, 3)])
@pytest.mark.parametrize("characteristics", [0, 0x80, 0x41E0])
def test_old_versions_and_every_characteristic_load(loads, version, characteristics) -> None:
    header = {"subsystem_version": version, "characteristics": characteristics}
    assert loads(hello(Code("DbgPrint")), data=b"x\0", **header).debug_output == ["x"]


def test_a_certificate_directory_counts_in_the_file_not_in_memory(loads) -> None:
    """Directory 4 holds a place of the file: beyond the image is right."""
    found = loads(hello(Code("DbgPrint")), data=b"x\0", directories={4: (0x10_0000, 0x1800)})
    assert found.debug_output == ["x"]


def test_an_image_aligned_below_a_page_may_be_written_and_executed_throughout(loads) -> None:
    """Sections share pages: none of them is protected."""
    code = Code("DbgPrint", at=0x400).add(ENTER)
    code.to("c605", 0x400 + 11, "90").add("cc")  # writes a NOP over the INT 3
    code.to("488d0d", 0x480).call("DbgPrint").add(LEAVE)
    sections = [
        (".text", 0x400, code.bytes, 0x68000020), (".data", 0x480, b"y\0", 0xC8000040),
        (".rdata", IMPORTS, code.import_section(), 0x48000040),
    ]  # fmt: skip
    assert loads(code, alignment=0x80, sections=sections).debug_output == ["y"]


def test_the_text_of_an_ordinary_image_is_not_writable(loads) -> None:
    with pytest.raises(BugCheck) as caught:
        loads(Code("DbgPrint").add(ENTER).to("c605", TEXT, "90").add(LEAVE))
    assert caught.value.code == 0xBE


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("InitSafeBootMode", 0), ("NlsMbCodePageTag", 0), ("NlsMbOemCodePageTag", 0),
        ("Mm64BitPhysicalAddress", 1), ("NlsAnsiCodePage", 1252), ("NlsOemCodePage", 437),
    ],
)  # fmt: skip
def test_variables_of_the_kernel(loads, variable: str, value: int) -> None:
    """mov rax, [slot]; movzx edx, word [rax]"""
    code = Code("DbgPrint", variable).add(ENTER).to("488b05", IMPORTS + 8).add("0fb710")
    code.to("488d0d", DATA).call("DbgPrint").add(LEAVE)
    assert loads(code, data=b"%u\0").debug_output == [str(value)]


def test_code_behind_a_listed_function_has_a_name_of_its_own(ntsim_machine, tmp_path: Path) -> None:
    """DriverEntry, which the exception directory lists, calls a leaf that it does not list."""
    code = Code("DbgPrint").add(ENTER).add("e804000000 0f0b").add("cccc 31c9 8b01 c3")
    begin, end = TEXT, TEXT + 11
    functions = begin.to_bytes(4, "little") + end.to_bytes(4, "little")
    functions += (DATA + 12).to_bytes(4, "little") + bytes.fromhex("01040100 04420000")
    path = write(tmp_path / "small.sys", code, data=functions, directories={3: (DATA, 12)})
    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(path)
    assert caught.value.code == 0x7E
    frames = [(f.symbol, f.offset) for f in machine.report().stack if f.module == "small"]
    assert frames == [("sub_100d", 2), ("DriverEntry", 9)]
