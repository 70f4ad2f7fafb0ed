"""Random maps, unmaps and accesses against a dictionary of pages."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ntsim.hw.cpu import CR0_WP
from ntsim.hw.mmu import EXECUTE, FAULT_PRESENT, FAULT_USER, READ, WRITE, Mmu
from ntsim.hw.paging import PTE_NX, PTE_PRESENT, PTE_USER, PTE_WRITE, PageTables
from ntsim.hw.ram import Ram

PAGE = 0x1000
PAGES = [
    base + i * PAGE
    for base in (0x10000, 0x7FFF_FFC0_0000, 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFC0_0000)
    for i in (0, 1, 511)
]


class Fault(Exception):
    """A page fault: its error code."""


class Running:
    """A processor whose CR3 is the root under test, with write protection on or off."""

    def __init__(self, cr3: int) -> None:
        self.cr0, self.cr3 = CR0_WP, cr3

    @property
    def current(self) -> "Running":
        return self


class PageTablesModel(RuleBasedStateMachine):
    """`mapped` maps a virtual page to its frame and the rights of its entry."""

    def __init__(self) -> None:
        super().__init__()
        self.ram = Ram(0x80_0000)
        self.next_frame = 0x1000
        self.tables = PageTables(self.ram, self.frame)
        self.root = self.frame()
        self.mmu = Mmu(self.ram, self.tables)
        self.mmu.running = self.running = Running(self.root)
        self.mmu.fault = self.fault
        self.mapped: dict[int, tuple[int, int]] = {}
        self.content: dict[int, bytes] = {}

    def frame(self) -> int:
        self.next_frame += PAGE
        return self.next_frame - PAGE

    @staticmethod
    def fault(va: int, error: int) -> None:
        raise Fault(error)

    @rule(
        page=st.sampled_from(PAGES),
        rights=st.sampled_from([0, PTE_WRITE, PTE_USER, PTE_WRITE | PTE_USER]),
        nx=st.sampled_from([0, PTE_NX]),
    )
    def map(self, page: int, rights: int, nx: int) -> None:
        pa = self.frame()
        self.mmu.write_entry(self.root, page, pa | PTE_PRESENT | rights | nx)
        self.mapped[page] = (pa, rights | nx)

    @rule(page=st.sampled_from(PAGES))
    def unmap(self, page: int) -> None:
        self.mmu.write_entry(self.root, page, 0)
        self.mapped.pop(page, None)

    @rule(on=st.booleans())
    def write_protection(self, on: bool) -> None:
        self.running.cr0 = CR0_WP if on else 0

    @rule(page=st.sampled_from(PAGES), access=st.sampled_from([READ, WRITE]), user=st.booleans())
    def access(self, page: int, access: int, user: bool) -> None:
        faulted, host = self.outcome(lambda: self.mmu.host(page + 5, access, user))
        assert faulted == self.expected(page, access, user)
        if faulted is None:
            assert host == self.ram.address + self.mapped[page][0] + 5

    @rule(page=st.sampled_from(PAGES))
    def fetch(self, page: int) -> None:
        faulted, _ = self.outcome(lambda: self.mmu.fetch(page))
        assert faulted == self.expected(page, EXECUTE, False)

    @staticmethod
    def outcome(access: Callable[[], int | None]) -> tuple[int | None, int | None]:
        """(error code, None) of an access that faults, (None, result) of one that does not."""
        try:
            return None, access()
        except Fault as fault:
            return fault.args[0], None

    def expected(self, page: int, access: int, user: bool) -> int | None:
        """The error code that an access should fault with."""
        code = access | (FAULT_USER if user else 0)
        if page not in self.mapped:
            return code
        rights = self.mapped[page][1]
        in_user_half = page >> 47 == 0
        refused = (
            (user and not (rights & PTE_USER and in_user_half))
            or (access == WRITE and not rights & PTE_WRITE and (user or self.running.cr0))
            or (access == EXECUTE and rights & PTE_NX)
        )
        return code | FAULT_PRESENT if refused else None

    @rule(page=st.sampled_from(PAGES), data=st.binary(min_size=1, max_size=8))
    def write(self, page: int, data: bytes) -> None:
        if page in self.mapped and self.mapped[page][1] & PTE_WRITE:
            self.mmu.write(page + 100, data)
            self.content[self.mapped[page][0]] = data

    @invariant()
    def translations_agree(self) -> None:
        for page in PAGES:
            found = self.tables.translate(self.root, page + 0x123)
            if page in self.mapped:
                assert found is not None
                assert found[0] == self.mapped[page][0] + 0x123
            else:
                assert found is None
            assert self.mmu.physical(page) == (
                self.mapped[page][0] if page in self.mapped else None
            )

    @invariant()
    def memory_holds_what_was_written(self) -> None:
        for page, (pa, _) in self.mapped.items():
            if pa in self.content:
                data = self.content[pa]
                assert self.ram.read(pa + 100, len(data)) == data
                assert self.mmu.read(page + 100, len(data)) == data


TestPageTablesModel = PageTablesModel.TestCase
TestPageTablesModel.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, derandomize=True
)
