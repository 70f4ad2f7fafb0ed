"""Page tables and the PFN database as drivers reach them.

Source: Windows Internals 7, ch. 5 (self-map, PFN database); _MMPFN, _MMPTE_HARDWARE of the public
symbols; Velocidex/WinPmem src/pte_mmap.c (how a driver looks for the entry of a page).
"""

import struct
from pathlib import Path

from ntsim import win32
from ntsim.host.current import current_kernel
from ntsim.intrin import *
from ntsim.nt.mm.pfn import ACTIVE, FREE
from ntsim.wdm import *

PAGE, FRAME, PEB = 0x1000, 0x000F_FFFF_FFFF_F000, 0xD5_B390_0000


def u64(at: int) -> int:
    return int.from_bytes(read_bytes(at, 8), "little")


def variable(name: str) -> int:
    return u64(current_kernel("the test").nt_image.find_named(name).address)


def pte_of(va: int) -> int:
    return variable("MmPteBase") + ((va & 0xFFFF_FFFF_FFFF) >> 12) * 8


def pfn_entry(pa: int) -> tuple[int, int, int, int]:
    """(PteAddress, share count, reference count, page location)."""
    data = read_bytes(variable("MmPfnDatabase") + (pa >> 12) * 48, 48)
    _, pte, _, share, counts, _ = struct.unpack("<6Q", data)
    return pte, share, counts & 0xFFFF, counts >> 16 & 7


def walk_by_physical_addresses(va: int) -> int:
    """From CR3 down, each table found by MmGetVirtualForPhysical: the address of va's entry."""
    table = __readcr3() & FRAME
    at = 0
    for shift in (39, 30, 21, 12):
        address = PHYSICAL_ADDRESS()
        address.QuadPart = table
        at = MmGetVirtualForPhysical(address) + ((va >> shift) & 0x1FF) * 8
        table = u64(at) & FRAME
    return at


def test_the_entry_of_a_page_is_found_through_the_self_map(value_of) -> None:
    def body() -> list:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE, 0x74736574)
        entry = u64(pte_of(block))
        pa = MmGetPhysicalAddress(block).QuadPart
        return [entry & FRAME == pa, entry & 1, walk_by_physical_addresses(block) == pte_of(block)]

    assert value_of(body) == [True, 1, True]


def test_a_page_moves_to_another_frame_when_its_entry_is_rewritten(value_of) -> None:
    def body() -> list:
        one = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE, 0x74736574)
        other = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE, 0x74736574)
        write_bytes(one, b"one")
        write_bytes(other, b"other")
        kept = u64(pte_of(one))
        write_bytes(pte_of(one), u64(pte_of(other)).to_bytes(8, "little"))
        __invlpg(one)
        seen = read_bytes(one, 5)
        write_bytes(pte_of(one), kept.to_bytes(8, "little"))
        __invlpg(one)
        return [seen, read_bytes(one, 3)]

    assert value_of(body) == [b"other", b"one"]


def test_each_process_sees_its_own_tables_in_the_self_map(run_driver, ntsim_machine) -> None:
    kept = {}

    def entry(DriverObject, RegistryPath) -> int:
        DriverObject.MajorFunction[IRP_MJ_CREATE] = create
        IoCreateDevice(DriverObject, 0, UNICODE_STRING("\\Device\\Tables"), 0x22, 0, FALSE)
        IoCreateSymbolicLink(
            UNICODE_STRING("\\??\\Tables"), UNICODE_STRING("\\Device\\Tables")
        )  # fmt: skip
        return STATUS_SUCCESS

    def create(DeviceObject, Irp) -> int:
        nt, state = current_kernel("the test"), KAPC_STATE()
        kept["own"] = u64(pte_of(PEB)) & FRAME == nt.mmu.physical(PEB)
        KeStackAttachProcess(nt.ps.system.va, state)
        kept["system"] = MmIsAddressValid(pte_of(PEB))
        KeUnstackDetachProcess(state)
        kept["again"] = u64(pte_of(PEB)) & FRAME == nt.mmu.physical(PEB)
        IoCompleteRequest(Irp, IO_NO_INCREMENT)
        return STATUS_SUCCESS

    machine = ntsim_machine()
    machine.load_driver(entry, name="tables.sys")
    machine.run(lambda: win32.CreateFile("\\\\.\\Tables", 0, 0, None, 3, 0, 0) and 0)
    assert kept == {"own": True, "system": False, "again": True}


def test_frames_are_active_while_in_use_and_counted_while_locked(value_of) -> None:
    def body() -> list:
        block = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE, 0x74736574)
        pa = MmGetPhysicalAddress(block).QuadPart
        found = [pfn_entry(pa)[0] == pte_of(block), pfn_entry(pa)[1:]]
        mdl = IoAllocateMdl(block, PAGE, FALSE, FALSE, NULL)
        MmProbeAndLockPages(mdl, KernelMode, IoReadAccess)
        found.append(pfn_entry(pa)[1:])
        MmUnlockPages(mdl)
        found.append(pfn_entry(pa)[1:])
        ExFreePoolWithTag(block, 0x74736574)
        return [*found, pfn_entry(pa)]

    one = (1, 1, ACTIVE)
    assert value_of(body) == [True, one, (1, 2, ACTIVE), one, (0, 0, 0, FREE)]


def test_the_database_agrees_with_every_page_table(run_driver) -> None:
    """From raw RAM: whatever a system entry maps is active, and a first mapping maps its frame."""
    outcome = run_driver(lambda: ExAllocatePoolWithTag(NonPagedPoolNx, 5 * PAGE, 0x74736574))
    nt = outcome.machine.nt
    ram, tables, root = nt.mm.ram, nt.mm.tables, nt.mm.system_root
    database = tables.translate(root, nt.mmu.read_word(variable_of(nt, "MmPfnDatabase")))[0]
    for _, entry in tables.present(root, 0xFFFF_DD07_0000_0000, 0xFFFF_DD07_0100_0000):
        pa = entry & FRAME
        pte, share, counts = (ram.u64[(database + (pa >> 12) * 48 >> 3) + i] for i in (1, 3, 4))
        assert (share, counts >> 16 & 7) == (1, ACTIVE) and counts & 0xFFFF
        entry_at = tables.translate(root, pte)[0]
        assert ram.u64[entry_at >> 3] & FRAME == pa


def variable_of(nt, name: str) -> int:
    return nt.nt_image.find_named(name).address


def test_mmptebase_stands_in_the_code_of_mmgetvirtualforphysical(value_of) -> None:
    def body() -> list:
        code = MmGetSystemRoutineAddress(UNICODE_STRING("MmGetVirtualForPhysical"))
        return [u64(code + 0x22) == variable("MmPteBase"), u64(code + 0x10) - 8]

    assert value_of(body) == [True, 0xFFFF_FA80_0000_0000]


def test_a_compiled_driver_walks_the_tables_and_remaps_a_page(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(Path(__file__).parents[3] / "driver/c/tables.sys")
    assert machine.debug_output == ["in the self-map: 1", "the frame: 1", "other", "one"]
