"""ntoskrnl.exe and hal.dll as bytes at their bases, for drivers that parse the kernel's image.

nt's header, section table and export directory are true, .text holds the bodies of exports and
services (`export_table`) and the beginning of KiSystemCall64, which LSTAR points at and in which
drivers look for KeServiceDescriptorTable. The addresses of the kernel's Python code are the section
.python: there is nothing to read there but INT3, and nothing that the processor may execute. Where
variables lie that are not modelled (INITDATA) nothing is mapped. hal.dll has only what it has since
build 19041: forwarders to ntoskrnl.

System calls look here as soon as somebody may have written to it (`_watch`). All of it is made when
the first driver is loaded. Source: Microsoft "PE Format"; Windows Internals
7, part 2, ch. 8 (system service dispatching).
"""

from __future__ import annotations

import struct
from array import array
from functools import cache
from typing import TYPE_CHECKING

from ntsim.abi.known_exports import VARIABLES
from ntsim.abi.services import argument_counts, service_numbers, services
from ntsim.host import pe_image
from ntsim.host.export_names import exported_names
from ntsim.host.kernel_variables import ARRAYS, VALUES, ZERO
from ntsim.host.pe_image import ImageSection
from ntsim.hw.cpu import EFER_SCE, IA32_EFER, IA32_LSTAR
from ntsim.hw.paging import PTE_ACCESSED, PTE_DIRTY, PTE_FRAME, PTE_NX, PTE_PRESENT, SELF_MAP
from ntsim.hw.ram import PAGE_SIZE
from ntsim.hw.vmx.guest.ept import FETCH, Ept, EptFault
from ntsim.hw.vmx.virtualised import VirtualisedProcessor
from ntsim.nt.mm import layout
from ntsim.nt.mm.images import EXPORT_BODY, Symbol
from ntsim.nt.mm.variables import DATA as NT_DATA

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

BASE = layout.NT_BASE
SYSTEM_CALL = layout.KI_SYSTEM_CALL_64
BODIES = BASE + 0x2000
DATA = BASE + 0x10_0000
MISSING_DATA, MISSING_SIZE = BASE + 0x18_0000, 0x100
"""Where variables that are not modelled would lie: nothing is mapped there, so that touching one is
noticed."""

_ARRAYS, _ROOM_FOR_ARRAY = DATA + 0x800, 0x40
"""Behind the variables that are no longer than a pointer."""

SERVICE_TABLES = layout.SERVICE_TABLES
EXPORTS = BASE + 0x1D_0000
PYTHON = BASE + 0x20_0000
"""What drivers read: descriptor tables and KiServiceTable, the export directory, Python code."""

VIRTUAL_FOR_PHYSICAL = BASE + 0x1600
CHECK_STACK = BASE + 0x1700
OWN_CODE = {"MmGetVirtualForPhysical": VIRTUAL_FOR_PHYSICAL, "__chkstk": CHECK_STACK}
"""Routines that are machine code like any other."""

RETURN = b"\xc3"
"""__chkstk: kernel stacks do not grow, so there is nothing to probe and no register changes. A
frame of more bytes than are left is a double fault at its first use."""

MORE_BODIES = 256
"""Room behind the bodies: for the way back from drivers, and names that only a stub gave."""

HLT_OFFSET = 25
"""Of HLT in a body: where the engine stops."""

_HOME = bytes.fromhex("48894c2408 4889542410 4c89442418 4c894c2420")
_R, _RW, _RX = pe_image.READ, pe_image.READ | pe_image.WRITE, pe_image.READ | pe_image.EXECUTE
SECTIONS = (
    ImageSection(".text", 0x1000, 0xF_F000, pe_image.CODE | _RX),
    ImageSection(".data", 0x10_0000, 0x8_0000, pe_image.INITIALIZED | _RW),
    ImageSection(
        "INITDATA", 0x18_0000, 0x4_0000, pe_image.INITIALIZED | pe_image.DISCARDABLE | _RW
    ),
    ImageSection("ALMOSTRO", 0x1C_0000, 0x1_0000, pe_image.INITIALIZED | _RW),
    ImageSection(".edata", 0x1D_0000, 0x3_0000, pe_image.INITIALIZED | _R),
    ImageSection(".python", 0x20_0000, layout.NT_SIZE - 0x20_0000, pe_image.INITIALIZED | _R),
)
_HAL = ("Hal", "x86Bios", "KdHv")
_HAL_NAMES = frozenset(
    "KeFlushWriteBuffer KeQueryPerformanceCounter KeStallExecutionProcessor IoFlushAdapterBuffers "
    "IoFreeAdapterChannel IoFreeMapRegisters IoMapTransfer IoReadPartitionTable "
    "IoSetPartitionInformation IoWritePartitionTable KdComPortInUse HalPrivateDispatchTable".split()
)
TIMESTAMP = 0x5DE6_0E7B
_FRAME_NUMBER = PTE_FRAME >> 12


def body(index: int) -> bytes:
    """The code of an export: four stores into the home space, MOV EAX, HLT, RET, INT3."""
    code = _HOME + b"\xb8" + index.to_bytes(4, "little") + b"\xf4\xc3"
    return code.ljust(EXPORT_BODY, b"\xcc")


@cache
def names() -> tuple[str, ...]:
    """Whose bodies stand in .text, by number: exports in order, then services nobody exports."""
    exported = exported_names()
    known = set(exported)
    return (*exported, *(name for name in services() if name not in known))


@cache
def bodies() -> bytes:
    """The bodies of `names`. EAX of a Zw routine is the number of its service, as in Windows."""
    numbers = service_numbers()
    return b"".join(
        body(numbers.get("Nt" + name[2:], index) if name.startswith("Zw") else index)
        for index, name in enumerate(names())
    )


@cache
def symbols() -> list[Symbol]:
    """A symbol for each body."""
    return [
        Symbol(name, BODIES + index * EXPORT_BODY, EXPORT_BODY)
        for index, name in enumerate(names())
    ]


@cache
def virtual_for_physical() -> bytes:
    """MmGetVirtualForPhysical in machine code: a frame's PteAddress, shifted to what it maps.

    Drivers look for MmPfnDatabase and MmPteBase in it, the latter 0x22 bytes from its beginning.
    """
    database, base = layout.PFN_DATABASE + 8, SELF_MAP
    return (
        bytes.fromhex("488bc1 48c1e80c 488d1440 4803d2")  # rdx = 6 * frame number
        + b"\x48\xb8" + database.to_bytes(8, "little")  # mov rax, MmPfnDatabase + 8
        + bytes.fromhex("488b04d0 48c1e019")  # mov rax, [rax+rdx*8]; shl rax, 19h
        + b"\x48\xba" + base.to_bytes(8, "little")  # mov rdx, MmPteBase
        + bytes.fromhex("48c1e219 81e1ff0f0000 482bc2 48c1f810 4803c1 c3")
    )  # fmt: skip


@cache
def _number_of() -> dict[str, int]:
    return {name: index for index, name in enumerate(names())}


def body_address(name: str) -> int:
    """Of a routine's body, 0 if Windows has no such routine."""
    number = _number_of().get(name)
    return 0 if number is None else OWN_CODE.get(name) or BODIES + number * EXPORT_BODY


def exported_address(name: str) -> int:
    """Of the body of a routine that nt exports, 0 if it exports none of that name."""
    number = pe_image.export_number(exported_names(), name)
    return body_address(name) if number >= 0 else 0


def _place_of(name: str) -> int:
    """Address of a variable that is modelled."""
    if name in ARRAYS:
        return _ARRAYS + _ROOM_FOR_ARRAY * list(ARRAYS).index(name)
    return DATA + 8 * VARIABLES.index(name)


@cache
def export_data() -> bytes:
    """nt's export directory: the routines' bodies, and the variables."""
    places: dict[str, int | str] = {name: body_address(name) - BASE for name in exported_names()}
    for index, name in enumerate(VARIABLES):
        modelled, missing = _place_of(name), MISSING_DATA + MISSING_SIZE * index
        places[name] = (modelled if name in VALUES or name in ARRAYS else missing) - BASE
    made = pe_image.export_directory(EXPORTS - BASE, "ntoskrnl.exe", places)
    assert len(made) <= PYTHON - EXPORTS, "nt's export directory does not fit its section"
    return made


@cache
def hal_data() -> bytes:
    """hal.dll's image: a header and forwarders."""
    forwarded: dict[str, int | str] = {
        name: f"ntoskrnl.{name}"
        for name in (*exported_names(), *VARIABLES)
        if name.startswith(_HAL) or name in _HAL_NAMES
    }
    exports = pe_image.export_directory(PAGE_SIZE, "HAL.dll", forwarded)
    section = ImageSection(".rdata", PAGE_SIZE, len(exports), pe_image.INITIALIZED | _R)
    header = pe_image.image_header(
        layout.HAL_BASE, layout.HAL_SIZE, [section], (PAGE_SIZE, len(exports)), dll=True,
        timestamp=TIMESTAMP,
    )  # fmt: skip
    assert PAGE_SIZE + len(exports) <= layout.HAL_SIZE
    return header.ljust(PAGE_SIZE, b"\0") + exports


SERVICE_DESCRIPTORS = layout.KE_SERVICE_DESCRIPTOR_TABLE - SERVICE_TABLES
SHADOW_DESCRIPTORS = layout.KE_SERVICE_DESCRIPTOR_TABLE_SHADOW - SERVICE_TABLES
SERVICE_TABLE = layout.KI_SERVICE_TABLE - SERVICE_TABLES
"""In SERVICE_TABLES; behind the last the argument table."""


@cache
def service_tables() -> bytes:
    """Two descriptor tables and KiServiceTable: each entry is the service's distance from the table
    times 16, plus the arguments on the stack."""
    table = layout.KI_SERVICE_TABLE
    entries = array("i")
    arguments = bytearray()
    for name, count in zip(services(), argument_counts(), strict=True):
        stacked = max(count - 4, 0)
        entries.append((body_address(name) - table) << 4 | stacked)
        arguments.append(4 * stacked)
    limit = len(entries)
    row = struct.pack("<QQQQ", table, 0, limit, table + 4 * limit)
    made = row.ljust(SHADOW_DESCRIPTORS, b"\0") + row
    return made.ljust(SERVICE_TABLE, b"\0") + entries.tobytes() + bytes(arguments)


@cache
def system_call_code() -> bytes:
    """KiSystemCall64 up to where the service is looked up, HLT, and KiSystemServiceExit.

    It swaps GS, takes the kernel stack from the PRCB, builds the trap frame, saves what a service
    may change, and splits EAX into table and number; the way back loads RSP, RBP, RCX and R11 from
    the trap frame.
    """
    code = bytearray.fromhex(
        "0f01f8"  # swapgs
        "654889242510000000"  # mov gs:[10h], rsp
        "65488b2425a8010000"  # mov rsp, gs:[1A8h]
        "6a2b 65ff342510000000 4153 6a33 51"  # push ss, rsp, r11, cs, rcx
        "498bca"  # mov rcx, r10
        "4883ec08 55 4881ec58010000"  # sub rsp, 8; push rbp; sub rsp, 158h
        "488dac2480000000"  # lea rbp, [rsp+80h]
        "48899dc0000000 4889bdc8000000 4889b5d0000000"  # rbx, rdi, rsi into the frame
        "65488b1c2588010000 4889a390000000"  # rbx = current thread, its TrapFrame = rsp
        "8bf8 c1ef07 83e720 25ff0f0000"  # mov edi, eax; shr edi, 7; and edi, 20h; and eax, 0FFFh
    )
    for opcode, descriptors in (("4c8d15", SERVICE_DESCRIPTORS), ("4c8d1d", SHADOW_DESCRIPTORS)):
        code += bytes.fromhex(opcode)
        after = SYSTEM_CALL + len(code) + 4
        code += struct.pack("<i", SERVICE_TABLES + descriptors - after)
    code += b"\xf4" + bytes.fromhex(
        "fa"  # cli
        "488b9dc0000000 488bbdc8000000 488bb5d0000000"  # rbx, rdi, rsi
        "4c8b8500010000 4c8b8dd8000000 33d2"  # r8 = rsp, r9 = rbp of the frame; xor edx, edx
        "488b8de8000000 4c8b9df8000000"  # rcx = rip, r11 = rflags of the frame
        "498be9 498be0 0f01f8 480f07"  # mov rbp, r9; mov rsp, r8; swapgs; sysretq
    )
    return bytes(code)


SERVICE_ENTRY = SYSTEM_CALL + system_call_code().index(b"\xf4\xfa")
"""HLT in KiSystemCall64: where the service is looked up."""

SERVICE_EXIT = SERVICE_ENTRY + 1
"""KiSystemServiceExit, behind it."""


def fetched_from(nt: Kernel, va: int) -> int | None:
    """Where the processor that runs would fetch an instruction at `va`; None if it would fault.

    Through the page tables, and in a guest through EPT: an exit that this would be is not made.
    """
    processor = nt.il.current
    found = nt.mm.tables.translate(processor.cr3, va)
    if found is None or found[1] & PTE_NX:
        return None
    if processor.__class__ is not VirtualisedProcessor:
        return found[0]
    pointer = processor.controls.eptp
    if pointer is None:
        return found[0]
    try:
        page = Ept(pointer, processor.vmx.capabilities, nt.mm.ram).walk(found[0])
    except EptFault:
        return None
    return page.frame | found[0] & page.size - 1 if page.rights & FETCH else None


class KernelImage:
    """The images of one machine. `text_end` is the first address behind the bodies' pages."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.ram, self.tables = nt.mm.ram, nt.mm.tables
        text = system_call_code().ljust(VIRTUAL_FOR_PHYSICAL - SYSTEM_CALL, b"\xcc")
        text = (text + virtual_for_physical()).ljust(CHECK_STACK - SYSTEM_CALL, b"\xcc") + RETURN
        text = text.ljust(BODIES - SYSTEM_CALL, b"\xcc") + bodies()
        text += b"\xcc" * (MORE_BODIES * EXPORT_BODY)
        text += b"\xcc" * (-len(text) % PAGE_SIZE)
        self.text_end = SYSTEM_CALL + len(text)
        exports = export_data()
        header = pe_image.image_header(
            BASE, layout.NT_SIZE, SECTIONS, (EXPORTS - BASE, len(exports)),
            entry=layout.KI_SYSTEM_STARTUP - BASE, timestamp=TIMESTAMP,
        )  # fmt: skip
        self._place(BASE, header)
        self.text = self._place(SYSTEM_CALL, text, executable=True)
        nt.ki.integrity.code.add(SYSTEM_CALL, text[: BODIES - SYSTEM_CALL + len(bodies())])
        tables = self._place(SERVICE_TABLES, service_tables())
        descriptors = service_tables()[:SERVICE_TABLE]
        nt.ki.integrity.code.add_table(layout.KI_SERVICE_TABLE, service_tables()[SERVICE_TABLE:])
        nt.ki.integrity.code.add_table(SERVICE_TABLES, descriptors)
        self._place(EXPORTS, exports)
        self._place(layout.HAL_BASE, hal_data())
        self._place(DATA, self._variables(), raw=True)
        self._fill_gaps()
        self._watch(tables)
        image = nt.nt_image
        at = sum(start < BODIES for start in image.starts)
        made = symbols()
        image.symbols[at:at] = made
        image.starts[at:at] = [symbol.address for symbol in made]
        for name, place in OWN_CODE.items():
            image.define(name, place, 0x40)
        for name, offset in (
            ("KeServiceDescriptorTable", SERVICE_DESCRIPTORS),
            ("KeServiceDescriptorTableShadow", SHADOW_DESCRIPTORS),
            ("KiServiceTable", SERVICE_TABLE),
        ):
            image.define(name, SERVICE_TABLES + offset, SHADOW_DESCRIPTORS)
        image.define("KiSystemServiceExit", SERVICE_EXIT, 0x80)

    def _variables(self) -> bytes:
        values = (VALUES[name](self.nt) if name in VALUES else 0 for name in VARIABLES)
        made = b"".join(value.to_bytes(8, "little") for value in values)
        for name, data in ARRAYS.items():
            made = made.ljust(_place_of(name) - DATA, b"\0") + data
        return made

    def _place(self, va: int, data: bytes, *, executable: bool = False, raw: bool = False) -> int:
        """Map consecutive frames that hold `data`; the first one's physical address. Only `raw`
        memory can be written."""
        mm = self.nt.mm
        pages = -(-len(data) // PAGE_SIZE)
        first = mm.frames.take_low(pages)
        mm.ram.write(first, data)
        frames = range(first, first + pages * PAGE_SIZE, PAGE_SIZE)
        mm.system.map(va, frames, executable=executable, writable=raw)
        if raw:
            for index, pa in enumerate(frames):
                at = va + index * PAGE_SIZE
                mm.mmu.map_raw(at, mm.ram.address + pa, [pa])
        if executable:
            mm.system.code.update(pa >> 12 for pa in frames)
        return first

    def _fill_gaps(self) -> None:
        """The rest of .text and .python is INT3, that of the data sections zero: one frame each."""
        mm = self.nt.mm
        breaks, zero = mm.frames.take_low(1), mm.frames.take_low(1)
        mm.ram.write(breaks, b"\xcc" * PAGE_SIZE)
        mm.ram.write(zero, bytes(PAGE_SIZE))
        self._fill(self.text_end, DATA, breaks)
        self._fill(DATA, MISSING_DATA, zero)
        self._fill(NT_DATA, PYTHON, zero)
        self._fill(PYTHON, BASE + layout.NT_SIZE, breaks)
        mm.mmu.changes += 1

    def _fill(self, start: int, end: int, frame: int) -> None:
        """Map a frame at every page that has none, to be read only."""
        entry = frame | PTE_PRESENT | PTE_ACCESSED | PTE_NX
        words, root = self.ram.u64, self.nt.mm.system_root
        while start < end:
            stop = min(end, (start | 0x1F_FFFF) + 1)
            at = self.tables.entry_address(root, start, create=True)
            assert at is not None
            first, count = at >> 3, (stop - start) // PAGE_SIZE
            found = words[first : first + count]
            if any(found):
                words[first : first + count] = array("Q", (each or entry for each in found))
            else:
                words[first : first + count] = array("Q", [entry]) * count
            start = stop

    def _watch(self, tables: int) -> None:
        """Let system calls notice who can write to text, tables or the entries that map them.

        A second mapping of one of these frames, and CR0.WP cleared, are noticed when they are made.
        What is left is the self-map: a write to an entry sets the dirty bit of the word that maps
        its page table, which is what each system call looks at.
        """
        mm = self.nt.mm
        assert BASE >> 21 == PYTHON - 1 >> 21, "one page table maps text and tables"
        at = self.tables.entry_address(mm.system_root, BASE, level=2)
        assert at is not None
        entry = self.ram.u64[at >> 3] & ~PTE_DIRTY | PTE_ACCESSED
        self.ram.u64[at >> 3] = entry
        text = range(self.text >> 12, self.text + self.text_end - SYSTEM_CALL >> 12)
        mm.system.kernel = frozenset((*text, tables >> 12, at >> 12, entry >> 12 & _FRAME_NUMBER))
        mm.system.code.update(mm.system.kernel)
        mm.system.kernel_open = self.nt.touched
        self.nt.watched = self.ram.u64[at >> 3 : (at >> 3) + 1]
        if self.nt.untouched >= 0:
            self.nt.untouched = entry

    def write_bodies(self, number: int, code: bytes) -> None:
        """Code behind the bodies of `names`."""
        assert number >= len(names())
        va = BODIES + number * EXPORT_BODY
        assert va + len(code) <= self.text_end, "too many stubs of names that Windows does not know"
        self.ram.write(self.text + va - SYSTEM_CALL, code)
        self.nt.ki.integrity.code.add(va, code)

    def has_code(self, va: int) -> bool:
        """Whether an address lies in the bodies' pages."""
        return SYSTEM_CALL <= va < self.text_end

    def variable(self, name: str) -> int:
        """Address of a variable; one that this machine has not got cannot be touched."""
        address = _place_of(name)
        if name in ARRAYS or name in ZERO:
            return address
        if name in VALUES and self.nt.read_pointer(address):
            return address
        return MISSING_DATA + MISSING_SIZE * VARIABLES.index(name)

    @staticmethod
    def missing_variable(address: int) -> str:
        """The variable that is not modelled and would lie at `address`; empty if none."""
        number = (address - MISSING_DATA) // MISSING_SIZE
        return VARIABLES[number] if 0 <= number < len(VARIABLES) else ""

    def routine_at(self, va: int) -> str:
        """The routine whose body begins at `va` and has not been changed; "" if there is none."""
        if va in OWN_CODE.values():
            return next(name for name, place in OWN_CODE.items() if place == va)
        number, offset = divmod(va - BODIES, EXPORT_BODY)
        known = names()
        if offset or not 0 <= number < len(known):
            return ""
        start = number * EXPORT_BODY
        whole = self.is_fetched(va, bodies()[start : start + EXPORT_BODY])
        return known[number] if whole else ""

    def is_fetched(self, va: int, code: bytes) -> bool:
        """Whether the processor that runs would fetch these bytes at `va`, in one page."""
        found = fetched_from(self.nt, va)
        return found is not None and self.ram.read(found, len(code)) == code

    def is_left(self) -> bool:
        """Whether SYSCALL on the current processor leads to other code than KiSystemCall64's."""
        msrs = self.nt.il.current.msrs
        return (
            not msrs[IA32_EFER] & EFER_SCE
            or msrs[IA32_LSTAR] != SYSTEM_CALL
            or not self.is_fetched(SYSTEM_CALL, system_call_code())
        )
