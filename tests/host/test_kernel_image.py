"""nt and hal as a driver finds them in memory.

Source: Microsoft "PE Format"; SinaKarvandi/Hypervisor-From-Scratch, "Part 8" (how a driver looks
for KeServiceDescriptorTable); Windows Internals 7, part 2, ch. 8.
"""

import struct
from pathlib import Path

import pytest

import ntsim
from ntsim.abi.services import services
from ntsim.host import kernel_image
from ntsim.host.pe import PeFile
from ntsim.intrin import *
from ntsim.nt.mm import layout
from ntsim.wdm import *

NT, HAL = layout.NT_BASE, layout.HAL_BASE


def u32(at: int) -> int:
    return int.from_bytes(read_bytes(at, 4), "little")


def text_at(at: int) -> str:
    found = b""
    while not found.endswith(b"\0"):
        found += read_bytes(at + len(found), 1)
    return found[:-1].decode()


def walk(base: int) -> dict[str, int]:
    """What a driver does that walks an export directory by hand: names to places."""
    header = base + u32(base + 0x3C)
    directory = base + u32(header + 0x88)
    count, functions, names, ordinals = struct.unpack("<IIII", read_bytes(directory + 24, 16))
    rvas = struct.unpack(f"<{count}I", read_bytes(base + names, 4 * count))
    numbers = struct.unpack(f"<{count}H", read_bytes(base + ordinals, 2 * count))
    places = struct.unpack(f"<{count}I", read_bytes(base + functions, 4 * count))
    return {text_at(base + rva): base + places[n] for rva, n in zip(rvas, numbers, strict=True)}


def test_the_export_directory_names_what_mmgetsystemroutineaddress_gives(value_of) -> None:
    wanted = ["ZwCreateFile", "ExAllocatePoolWithTag", "FsRtlCopyWrite", "NtBuildNumber"]

    def body() -> list:
        found = walk(NT)
        names = [*found]
        same = [found[n] == MmGetSystemRoutineAddress(UNICODE_STRING(n)) for n in wanted]
        return [names == sorted(names), len(names) > 2000, same]

    assert value_of(body) == [True, True, [True] * 4]


def test_a_routine_found_by_walking_can_be_called(value_of) -> None:
    def body() -> list:
        event, count = KEVENT(), LARGE_INTEGER()
        KeInitializeEvent(event, NotificationEvent, FALSE)
        count.QuadPart = -1
        dpc, timer = KDPC(), KTIMER()
        KeInitializeDpc(dpc, walk(NT)["KeSetEvent"], event)
        KeInitializeTimer(timer)
        from ntsim.host.current import current_kernel

        current_kernel("the test").call(walk(NT)["KeSetEvent"], int(event), 0, 0)
        return [KeReadStateEvent(event), int(timer) != 0]

    assert value_of(body) == [1, True]


def test_the_header_and_the_sections_are_those_of_a_pe_file(run_driver) -> None:
    def body() -> bytes:
        sections = [(s.at, s.size) for s in kernel_image.SECTIONS if s.name != "INITDATA"]
        data = bytearray(layout.NT_SIZE)
        for at, size in ((0, 0x400), *sections):
            data[at : at + size] = read_bytes(NT + at, size)
        return bytes(data)

    outcome = run_driver(body)
    pe = PeFile(outcome.value)
    assert (pe.base, len(pe.memory)) == (NT, layout.NT_SIZE)
    assert [s.name for s in pe.sections][:2] == [".text", ".data"]
    assert NT + pe.exports["ZwClose"] == kernel_image.body_address("ZwClose")
    assert outcome.machine.nt.describe_address(NT + pe.exports["ZwClose"]) == "nt!ZwClose"


def test_the_loaded_modules_begin_with_nt_and_hal(run_driver) -> None:
    def body() -> list:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, 0x1000, 0x74736574)
        ZwQuerySystemInformation(11, block, 0x1000, NULL)
        entries = [read_bytes(block + 8 + i * 0x128, 0x128) for i in range(2)]
        return [(*struct.unpack_from("<QI", e, 16), e[40:].split(b"\0")[0]) for e in entries]

    root = b"\\SystemRoot\\system32\\"
    assert run_driver(body).value == [
        (NT, layout.NT_SIZE, root + b"ntoskrnl.exe"),
        (HAL, layout.HAL_SIZE, root + b"hal.dll"),
    ]


def test_hal_forwards_to_nt(value_of) -> None:
    def body() -> list:
        found = walk(HAL)
        return [text_at(found[n]) for n in ("KeStallExecutionProcessor", "HalGetInterruptVector")]

    assert value_of(body) == [
        "ntoskrnl.KeStallExecutionProcessor", "ntoskrnl.HalGetInterruptVector"
    ]  # fmt: skip


def test_a_driver_finds_the_service_table_from_lstar(value_of) -> None:
    pattern = bytes.fromhex("8bf8c1ef0783e72025ff0f0000")

    def body() -> list:
        start = __readmsr(0xC0000082)
        code = read_bytes(start, 0x200)
        at = code.index(pattern) + len(pattern)
        lea, distance = struct.unpack_from("<3si", code, at)
        table, _, count, _ = struct.unpack("<QQQQ", read_bytes(start + at + 7 + distance, 32))
        entry = int.from_bytes(read_bytes(table + 4 * 0x55, 4), "little", signed=True)
        number = u32(MmGetSystemRoutineAddress(UNICODE_STRING("ZwCreateFile")) + 0x15)
        nt_create = MmGetSystemRoutineAddress(UNICODE_STRING("NtCreateFile"))
        return [lea, count, table + (entry >> 4) == nt_create, entry & 15, number]

    assert value_of(body) == [bytes.fromhex("4c8d15"), len(services()), True, 7, 0x55]


def test_every_page_of_the_image_but_initdata_can_be_read(value_of) -> None:
    def body() -> list:
        pages = [
            NT + at
            for s in kernel_image.SECTIONS if s.name != "INITDATA"
            for at in range(s.at, s.at + s.size, 0x1000)
        ]  # fmt: skip
        return [all(MmIsAddressValid(page) for page in pages), read_bytes(NT + 0x300000, 2)]

    assert value_of(body) == [True, b"\xcc\xcc"]


@pytest.mark.parametrize("at", [0, 0x2000, 0x300000])
def test_writing_the_kernels_image_is_a_bug_check(bugcheck_of, at: int) -> None:
    error = bugcheck_of(lambda: write_bytes(NT + at, b"x"))
    assert (error.code, error.parameters[0]) == (0xBE, NT + at)


def test_a_service_that_is_not_modelled_says_so_when_it_is_called(run_driver) -> None:
    def body() -> None:
        from ntsim.host.current import current_kernel

        current_kernel("the test").call(kernel_image.body_address("NtAlpcCreatePort"), 0, 0, 0)

    with pytest.raises(ntsim.UnmodelledRoutine) as caught:
        run_driver(body)
    assert caught.value.routine == "NtAlpcCreatePort"


def test_the_header_routines_of_rtl_read_nts_image(value_of) -> None:
    def body() -> list:
        headers, size = RtlImageNtHeader(NT), ULONG()
        export = RtlImageDirectoryEntryToData(NT, TRUE, 0, size)
        none = RtlImageDirectoryEntryToData(NT, TRUE, 1, NULL)
        base = PVOID()
        found = RtlPcToFileHeader(MmGetSystemRoutineAddress(UNICODE_STRING("ZwClose")), base)
        return [
            headers.OptionalHeader.SizeOfImage, headers.FileHeader.Machine,
            cast(export, IMAGE_EXPORT_DIRECTORY).NumberOfNames == len(walk(NT)), int(size[0]) > 40,
            none, RtlImageNtHeader(NT + 0x1000) == NULL, found, int(base[0]),
        ]  # fmt: skip

    assert value_of(body) == [layout.NT_SIZE, 0x8664, True, True, 0, True, NT, NT]


def test_a_compiled_driver_walks_and_calls_exports_and_finds_a_service(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(Path(__file__).parents[2] / "driver/c/exports.sys")
    assert machine.debug_output == [
        "walked to the same address: 1",
        "forwarded to ntoskrnl.KeStallExecutionProcessor",
        "called: 1",
        "service 55 is NtCreateFile: 1",
    ]
