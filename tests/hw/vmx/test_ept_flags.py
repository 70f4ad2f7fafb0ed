"""Accessed and dirty flags of EPT, the page-modification log, virtualization exceptions.

SDM 3, "Accessed and Dirty Flags for EPT", "Page-Modification Logging", "Virtualization Exceptions";
how accesses to a guest's paging structures are reported: kvm-unit-tests, x86/vmx_tests.c
(ept_access_test_paddr_*).
"""

import pytest

from ntsim.abi import vmx_constants as f
from ntsim.hw.cpu_model import lookup
from ntsim.hw.engine import Engine
from ntsim.hw.engine.native import Native
from ntsim.hw.vmx.results import VmFailValid

from .conftest import (
    CODE_PA,
    CODE_VA,
    DATA_PA,
    DATA_VA,
    HANDLER_SIZE,
    HANDLERS_VA,
    IDT_PA,
    STACK_PA,
    STACK_VA,
    GuestRig,
)

READ, WRITE, FETCH = 1, 2, 4
LINEAR, FINAL = 1 << 7, 1 << 8
ACCESSED, DIRTY, SUPPRESS_VE = 1 << 8, 1 << 9, 1 << 63
FLAGS_ON = 1 << 6
WRITE_BACK = 6 << 3
GUEST_ACCESSED, GUEST_DIRTY = 1 << 5, 1 << 6


def entry(guest, address, level=1):
    """The EPT entry of a guest-physical address."""
    table = guest.ept_root
    for depth in (4, 3, 2, 1):
        found = guest.ram.u64[table + (address >> 3 + 9 * depth & 0x1FF) * 8 >> 3]
        if depth == level:
            return found
        table = found & 0xF_FFFF_FFFF_F000
    raise AssertionError(level)


def flags(guest, address, level=1):
    return entry(guest, address, level) & (ACCESSED | DIRTY)


@pytest.fixture
def flagged(guest):
    """A guest whose EPT has accessed and dirty flags turned on."""
    guest.enable_ept(0x1E | FLAGS_ON)
    return guest


class TestFlags:
    def test_every_entry_on_the_way_to_what_is_read_is_accessed(self, flagged):
        flagged.launch("mov rbx, [rax]; hlt", rax=DATA_VA)
        for level in (4, 3, 2, 1):
            assert entry(flagged, DATA_PA, level) & ACCESSED, level
        assert flags(flagged, DATA_PA) == ACCESSED
        assert flags(flagged, CODE_PA) == ACCESSED

    def test_a_write_makes_the_page_dirty_also_behind_a_read(self, flagged):
        flagged.launch("mov rbx, [rax]; cpuid; mov [rsi], rbx; hlt", rax=DATA_VA, rsi=DATA_VA)
        assert flags(flagged, DATA_PA) == ACCESSED
        flagged.resume()
        assert flags(flagged, DATA_PA) == ACCESSED | DIRTY

    def test_what_is_not_used_has_none(self, flagged):
        flagged.launch("hlt")
        assert not flags(flagged, DATA_PA)

    def test_paging_structures_are_written(self, flagged):
        flagged.launch("hlt")
        assert flags(flagged, flagged.root) == ACCESSED | DIRTY

    def test_a_2_mbyte_page_has_its_own(self, flagged):
        flagged.set_ept(0x20_0000, 0x20_0000 | 0x37 | 1 << 7, level=2)
        flagged.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert flags(flagged, DATA_PA, level=2) == ACCESSED | DIRTY

    def test_delivery_of_an_event_writes_the_stack_and_reads_the_idt(self, flagged):
        flagged.launch("ud2")
        assert flags(flagged, STACK_PA) == ACCESSED | DIRTY
        assert flags(flagged, IDT_PA) == ACCESSED

    def test_flags_that_software_clears_are_set_again_after_invept(self, flagged):
        code = "mov [rax], rbx; cpuid; mov [rsi], rbx; cpuid; mov [rsi], rbx; hlt"
        flagged.launch(code, rax=DATA_VA, rsi=DATA_VA)
        flagged.set_ept(DATA_PA, DATA_PA | 0x37)
        flagged.unit.invept(2, 0)
        flagged.resume()
        assert flags(flagged, DATA_PA) == ACCESSED | DIRTY

    def test_an_access_that_is_not_allowed_leaves_the_page_as_it_is(self, flagged):
        flagged.set_ept(DATA_PA, DATA_PA | WRITE_BACK | READ)
        found = flagged.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert found.qualification == WRITE | READ << 3 | LINEAR | FINAL
        assert not flags(flagged, DATA_PA)

    def test_without_bit_6_of_the_ept_pointer_nothing_is_written(self, guest):
        guest.enable_ept()
        guest.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert not any(flags(guest, DATA_PA, level) for level in (4, 3, 2, 1))

    def test_a_processor_without_them_refuses_bit_6(self):
        guest = GuestRig(lookup("Xeon-W3670"))
        guest.enable_ept(0x1E | FLAGS_ON)
        found = guest.unit.vmlaunch()
        assert isinstance(found, VmFailValid) and found.error == 7


class TestPagingStructures:
    """The page that holds the last table of the guest's translation of the data page."""

    def separate(self, guest, rights, bits):
        """Give DATA_VA a last table of its own, with the EPT rights of its page."""
        last = guest._new_table()
        far = DATA_VA + 0x20_0000
        at = guest.tables.entry_address(guest.root, DATA_VA, 2) + 8
        guest.ram.u64[at >> 3] = last | 0x67
        guest.ram.u64[last + (far >> 12 & 0x1FF) * 8 >> 3] = DATA_PA | 7 | bits
        guest.set_ept(last, last | WRITE_BACK | rights)
        return last + (far >> 12 & 0x1FF) * 8, far

    @pytest.mark.parametrize("rights", [READ, READ | FETCH])
    @pytest.mark.parametrize(
        ("bits", "code", "allowed"),
        [
            (0, "mov rbx, [rax]; hlt", False),
            (0, "mov [rax], rbx; hlt", False),
            (GUEST_ACCESSED, "mov rbx, [rax]; hlt", True),
            (GUEST_ACCESSED, "mov [rax], rbx; hlt", False),
            (GUEST_ACCESSED | GUEST_DIRTY, "mov rbx, [rax]; hlt", True),
            (GUEST_ACCESSED | GUEST_DIRTY, "mov [rax], rbx; hlt", True),
        ],
    )
    def test_a_read_only_one_without_ept_flags(self, guest, rights, bits, code, allowed):
        guest.enable_ept()
        place, far = self.separate(guest, rights, bits)
        found = guest.launch(code, rax=far, rbx=0x1234)
        if allowed:
            assert found.reason == f.EXIT_REASON_HLT
            return
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert found.qualification == READ | WRITE | rights << 3 | LINEAR
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == place
        assert guest.read(f.GUEST_LINEAR_ADDRESS) == far

    @pytest.mark.parametrize("bits", [0, GUEST_ACCESSED | GUEST_DIRTY])
    def test_a_read_only_one_with_ept_flags_is_always_a_violation(self, guest, bits):
        guest.enable_ept(0x1E | FLAGS_ON)
        place, far = self.separate(guest, READ, bits)
        found = guest.launch("mov rbx, [rax]; hlt", rax=far)
        assert found.qualification == READ | WRITE | READ << 3 | LINEAR
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == place

    @pytest.mark.parametrize("flags_on", [False, True])
    def test_one_that_is_not_there(self, guest, flags_on):
        guest.enable_ept(0x1E | (FLAGS_ON if flags_on else 0))
        place, far = self.separate(guest, 0, GUEST_ACCESSED)
        found = guest.launch("mov [rax], rbx; hlt", rax=far)
        assert found.qualification == READ | (WRITE if flags_on else 0) | LINEAR
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == place

    def test_a_read_only_one_still_cannot_be_written_to(self, guest):
        guest.enable_ept()
        place, far = self.separate(guest, READ, GUEST_ACCESSED | GUEST_DIRTY)
        own = DATA_VA + 0x40_0000  # where the table itself is mapped
        guest.tables.write(guest.root, own, place & ~0xFFF | 0x67)
        code = "mov rbx, [rax]; mov rcx, [rsi]; mov [rsi], rcx; hlt"
        found = guest.launch(code, rax=far, rsi=own)
        assert found.qualification == WRITE | READ << 3 | LINEAR | FINAL
        assert guest.read(f.GUEST_LINEAR_ADDRESS) == own
        assert found.rip == CODE_VA + 6

    def test_a_page_that_a_read_only_one_does_not_map_is_the_guests_page_fault(self, guest):
        guest.enable_ept()
        _, far = self.separate(guest, READ, GUEST_ACCESSED)
        found = guest.launch("mov rbx, [rax]; hlt", rax=far + 0x1000)
        assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, HANDLERS_VA + 14 * HANDLER_SIZE)
        assert guest.processor.cr2 == far + 0x1000


@pytest.fixture
def logging(guest):
    """A guest with a page-modification log whose index is 511."""
    guest.enable_ept(0x1E | FLAGS_ON)
    guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_ENABLE_PML)
    guest.log = guest.page(0)
    guest.write_fields({f.PML_ADDRESS: guest.log, f.GUEST_PML_INDEX: 511})
    return guest


def logged(guest):
    """The entries of the log, the first one first."""
    index = guest.read(f.GUEST_PML_INDEX)
    first = (index + 1 & 0xFFFF) % 0x10000
    return [guest.ram.u64[guest.log + 8 * n >> 3] for n in range(511, first - 1, -1)]


class TestPageModificationLog:
    def test_each_page_that_becomes_dirty_is_entered_once(self, logging):
        code = "mov [rax + 8], rbx; mov [rax + 16], rbx; mov [rsi], rbx; hlt"
        logging.launch(code, rax=DATA_VA, rsi=STACK_VA)
        found = logged(logging)
        assert found.count(DATA_PA) == 1
        assert found.count(STACK_PA) == 1
        assert found.index(DATA_PA) < found.index(STACK_PA)
        assert CODE_PA not in found
        assert logging.root in found  # a paging structure, which is written

    def test_a_log_without_room_is_left_for_before_the_access(self, logging):
        code = "mov rbx, [rsi]; mov [rax], rbx; hlt"
        logging.launch("hlt")
        before = logged(logging)
        logging.write_fields({f.GUEST_RIP: CODE_VA, f.GUEST_PML_INDEX: 0xFFFF})
        logging.put(code)
        logging.write_fields({f.GUEST_PML_INDEX: 0})
        logging.unit.gpr[0] = logging.unit.gpr[6] = DATA_VA
        found = logging.resume(skip=False)
        assert found.reason == f.EXIT_REASON_HLT  # there was room for one
        assert logging.read(f.GUEST_PML_INDEX) == 0xFFFF
        assert logging.ram.u64[logging.log >> 3] == DATA_PA
        assert before

    @pytest.mark.parametrize("index", [0xFFFF, 512])
    def test_the_exit_has_no_qualification_and_the_flags_are_not_set(self, logging, index):
        logging.launch("hlt")
        logging.put("mov [rax], rbx; hlt")
        logging.unit.gpr[0] = DATA_VA
        logging.write_fields({f.GUEST_RIP: CODE_VA, f.GUEST_PML_INDEX: index})
        found = logging.resume(skip=False)
        assert (found.reason, found.qualification) == (f.EXIT_REASON_PML_FULL, 0)
        assert found.rip == CODE_VA
        assert not flags(logging, DATA_PA)
        assert logging.read(f.GUEST_RFLAGS) & f.RFLAGS_RF
        logging.write_fields({f.GUEST_PML_INDEX: 7})
        assert logging.resume(skip=False).reason == f.EXIT_REASON_HLT
        assert logging.ram.u64[logging.log + 56 >> 3] == DATA_PA

    def test_an_accessed_flag_needs_room_too(self, logging):
        logging.launch("hlt")
        logging.put("mov rbx, [rax]; hlt")
        logging.unit.gpr[0] = DATA_VA
        logging.write_fields({f.GUEST_RIP: CODE_VA, f.GUEST_PML_INDEX: 512})
        assert logging.resume(skip=False).reason == f.EXIT_REASON_PML_FULL

    def test_during_event_delivery_the_event_is_reported(self, logging):
        logging.launch("hlt")
        logging.put("ud2")
        logging.write_fields({f.GUEST_RIP: CODE_VA, f.GUEST_PML_INDEX: 512})
        assert logging.resume(skip=False).reason == f.EXIT_REASON_PML_FULL
        assert logging.read(f.IDT_VECTORING_INFO) == 0x8000_0306

    def test_it_needs_ept(self, guest):
        guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS)
        guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_ENABLE_PML)
        found = guest.unit.vmlaunch()
        assert isinstance(found, VmFailValid) and found.error == 7


@pytest.fixture
def excepting(guest):
    """A guest with EPT-violation #VE; `area` is the information area."""
    guest.enable_ept()
    guest.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_EPT_VIOLATION_VE)
    guest.area = guest.page(0)
    guest.write_fields({f.VIRT_EXCEPTION_INFO: guest.area, f.EPTP_INDEX: 3})
    return guest


def information(guest):
    """(exit reason, the word that is all ones, qualification, linear, physical, EPTP index)."""
    raw = guest.ram.read(guest.area, 40)
    words = [int.from_bytes(raw[n : n + 8], "little") for n in (8, 16, 24)]
    ends = [int.from_bytes(raw[n : n + size], "little") for n, size in ((0, 4), (4, 4), (32, 2))]
    return (*ends[:2], *words, ends[2])


class TestVirtualizationExceptions:
    def test_a_violation_is_an_exception_of_the_guest(self, excepting):
        excepting.set_ept(DATA_PA, 0)
        found = excepting.launch("mov [rax + 8], rbx; hlt", rax=DATA_VA)
        assert (found.reason, found.rip) == (f.EXIT_REASON_HLT, HANDLERS_VA + 20 * HANDLER_SIZE)
        assert information(excepting) == (
            f.EXIT_REASON_EPT_VIOLATION,
            0xFFFF_FFFF,
            WRITE | LINEAR | FINAL,
            DATA_VA + 8,
            DATA_PA + 8,
            3,
        )
        rip, flags_ = (excepting.ram.u64[STACK_PA + n >> 3] for n in (0xFC8, 0xFD8))
        assert (rip, bool(flags_ & f.RFLAGS_RF)) == (CODE_VA, True)

    @pytest.mark.parametrize("rights", [0, READ])
    def test_bit_63_of_the_entry_suppresses_it(self, excepting, rights):
        excepting.set_ept(DATA_PA, SUPPRESS_VE | (DATA_PA | WRITE_BACK | rights if rights else 0))
        found = excepting.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert excepting.ram.read(excepting.area, 40) == bytes(40)

    def test_of_a_table_that_is_not_there_its_own_bit_counts(self, excepting):
        excepting.set_ept(0x20_0000, SUPPRESS_VE, level=2)
        assert excepting.launch("hlt").reason == f.EXIT_REASON_EPT_VIOLATION

    def test_bit_63_of_an_entry_on_the_way_does_not_count(self, excepting):
        excepting.set_ept(DATA_PA, 0)
        place = entry(excepting, DATA_PA, 2)
        excepting.set_ept(DATA_PA, place | SUPPRESS_VE, level=2)
        found = excepting.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_HLT

    def test_an_area_in_use_means_an_exit(self, excepting):
        excepting.set_ept(DATA_PA, 0)
        excepting.ram.write(excepting.area + 4, (1).to_bytes(4, "little"))
        found = excepting.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION

    def test_the_exception_bitmap_takes_it(self, excepting):
        excepting.set_ept(DATA_PA, 0)
        excepting.write_fields({f.EXCEPTION_BITMAP: 1 << 20})
        found = excepting.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert (found.reason, found.qualification) == (f.EXIT_REASON_EXCEPTION_OR_NMI, 0)
        assert excepting.read(f.VM_EXIT_INTR_INFO) == 0x8000_0314
        assert information(excepting)[0] == f.EXIT_REASON_EPT_VIOLATION

    def test_a_violation_during_event_delivery_exits(self, excepting):
        excepting.set_ept(STACK_PA, 0)
        found = excepting.launch("ud2")
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        assert excepting.read(f.IDT_VECTORING_INFO) == 0x8000_0306

    def test_a_misconfiguration_exits(self, excepting):
        excepting.set_ept(DATA_PA, DATA_PA | WRITE_BACK | WRITE)
        found = excepting.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_EPT_MISCONFIGURATION

    def test_it_counts_as_a_page_fault_when_its_delivery_faults(self, excepting):
        """SDM 3, "Interrupt 8-Double Fault Exception (#DF)": #VE is of the class of page faults."""
        excepting.set_ept(DATA_PA, 0)
        excepting.ram.u64[IDT_PA + 16 * 20 >> 3] = 0
        found = excepting.launch("mov [rax], rbx; hlt", rax=DATA_VA)
        assert found.rip == HANDLERS_VA + 8 * HANDLER_SIZE

    def test_eptp_switching_enters_the_index(self, excepting):
        other = excepting.page(0)
        excepting.ram.u64[other >> 3] = excepting.ram.u64[excepting.ept_root >> 3]
        pointers = excepting.page(0)
        excepting.ram.u64[pointers + 8 >> 3] = other | 0x1E
        excepting.control(f.SECONDARY_VM_EXEC_CONTROL, f.SECONDARY_ENABLE_VM_FUNCTIONS)
        excepting.write_fields({f.VM_FUNCTION_CONTROL: 1, f.EPTP_LIST_ADDR: pointers})
        found = excepting.launch("vmfunc; hlt", rax=0, rcx=1)
        assert found.reason == f.EXIT_REASON_HLT
        assert excepting.read(f.EPTP_INDEX) == 1


class TestFetches:
    """A page that is not executable: SDM 3, "EPT Violations"."""

    def make(self, counting):
        guest = GuestRig()
        if not counting:
            guest.engine = Engine.on(Native(count_in_library=True), guest.ram)
            guest.unit.engine = guest.engine
        guest.enable_ept()
        return guest

    @pytest.mark.parametrize("counting", [True, False])
    def test_code_in_a_page_that_was_read_before(self, counting):
        guest = self.make(counting)
        guest.set_ept(DATA_PA, DATA_PA | WRITE_BACK | READ | WRITE)
        guest.engine.write_code(DATA_PA, b"\x90\x90\xf4")
        found = guest.launch("mov rbx, [rax]; inc rcx; jmp rax", rax=DATA_VA, rcx=0)
        assert found.qualification == FETCH | (READ | WRITE) << 3 | LINEAR | FINAL
        assert (guest.read(f.GUEST_LINEAR_ADDRESS), found.rip) == (DATA_VA, DATA_VA)
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == DATA_PA
        assert guest.gpr("rcx") == 1

    @pytest.mark.parametrize("counting", [True, False])
    def test_code_that_was_executed_before_the_right_was_taken_away(self, counting):
        guest = self.make(counting)
        guest.engine.write_code(DATA_PA, b"\x90\xc3")
        code = "call rax; cpuid; mov rbx, [rax]; call rax; hlt"
        assert guest.launch(code, rax=DATA_VA).reason == f.EXIT_REASON_CPUID
        guest.set_ept(DATA_PA, DATA_PA | WRITE_BACK | READ)
        guest.unit.invept(2, 0)
        guest.unit.gpr[0] = DATA_VA
        found = guest.resume()
        assert found.qualification == FETCH | READ << 3 | LINEAR | FINAL
        assert found.rip == DATA_VA

    @pytest.mark.parametrize("counting", [True, False])
    def test_an_instruction_that_reaches_into_such_a_page(self, counting):
        guest = self.make(counting)
        guest.tables.write(guest.root, CODE_VA + 0x1000, DATA_PA | 7)
        guest.set_ept(DATA_PA, DATA_PA | WRITE_BACK | READ)
        both = bytes.fromhex("48ffc1 90 b967452301 f4")  # inc rcx; nop; mov ecx, 0x1234567; hlt
        guest.put(both[:6], 0xFFA)
        guest.engine.write_code(DATA_PA, both[6:])
        guest.put("mov rbx, [rax]; jmp rdx")
        found = guest.launch(rax=CODE_VA + 0x1000, rdx=CODE_VA + 0xFFA, rcx=0)
        assert found.qualification == FETCH | READ << 3 | LINEAR | FINAL
        assert found.rip == CODE_VA + 0xFFE
        assert guest.read(f.GUEST_LINEAR_ADDRESS) == CODE_VA + 0x1000
        assert guest.read(f.GUEST_PHYSICAL_ADDRESS) == DATA_PA
        assert guest.gpr("rcx") == 1

    def test_page_tables_need_no_execute_right(self, guest):
        guest.enable_ept()
        for table in range(guest.root, guest._next_table, 0x1000):
            guest.set_ept(table, table | WRITE_BACK | READ | WRITE)
        found = guest.launch("mov [rax], rbx; mov rcx, [rax]; hlt", rax=DATA_VA, rbx=7)
        assert (found.reason, guest.gpr("rcx")) == (f.EXIT_REASON_HLT, 7)


class TestAdvancedInformation:
    """Bits 11:9 of the qualification, where IA32_VMX_EPT_VPID_CAP[22] says that they are there:
    the rights of the linear page. SDM 3, "Exit Qualification for EPT Violations"."""

    USER, WRITABLE, NO_EXECUTE = 1 << 9, 1 << 10, 1 << 11

    def violation(self, model, code, bits):
        """The qualification where EPT has no page behind a linear page with these rights."""
        guest = GuestRig(lookup(model))
        guest.processor.msrs[f.IA32_EFER] |= 1 << 11
        guest.enable_ept()
        guest.set_ept(DATA_PA, 0)
        guest.tables.write(guest.root, DATA_VA, DATA_PA | 1 | bits)
        found = guest.launch(code, rax=DATA_VA)
        assert found.reason == f.EXIT_REASON_EPT_VIOLATION
        return found.qualification

    @pytest.mark.parametrize(
        ("bits", "said"),
        [
            (0, 0),
            (2, WRITABLE),
            (4, USER),
            (6, USER | WRITABLE),
            (1 << 63 | 2, WRITABLE | NO_EXECUTE),
        ],
    )
    def test_rights_of_the_linear_page(self, bits, said):
        found = self.violation("i7-1065G7", "mov rbx, [rax]; hlt", bits)
        assert found == READ | LINEAR | FINAL | said

    def test_an_older_processor_says_nothing(self):
        found = self.violation("i7-6820HQ", "mov rbx, [rax]; hlt", 6)
        assert found == READ | LINEAR | FINAL
