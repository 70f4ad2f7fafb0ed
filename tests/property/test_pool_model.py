"""Random allocations and frees against a list of what should be there."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ntsim.machine import Machine

HEADER, PAGE = 0x10, 0x1000


class PoolModel(RuleBasedStateMachine):
    """`live` maps a block's address to its size, kind and content."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(processors=1, memory_mb=24, record=False)
        self.nt = self.machine.nt
        self.pool = self.nt.ex.pool
        self.live: dict[int, tuple[int, bool, bytes]] = {}
        self.stamp = 0

    def teardown(self) -> None:
        self.machine.close()

    @rule(size=st.one_of(st.integers(0, 300), st.integers(3900, 9000)), paged=st.booleans())
    def allocate(self, size: int, paged: bool) -> None:
        address = self.pool.allocate(size, "Test", paged=paged)
        assert address % (PAGE if size > PAGE - 2 * HEADER else 16) == 0
        for other, (length, _, _) in self.live.items():
            assert address + size <= other or other + length <= address, "blocks overlap"
        self.stamp += 1
        content = bytes((self.stamp + i) & 0xFF for i in range(size))
        self.nt.mmu.write(address, content)
        self.live[address] = (size, paged, content)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.live)))
        size, paged, _ = self.live.pop(address)
        freed, tag, was_paged = self.pool.free(address, "Test")
        assert (freed >= size, tag, was_paged) == (True, "Test", paged)

    @invariant()
    def nothing_is_overwritten(self) -> None:
        for address, (size, _, content) in self.live.items():
            assert self.nt.mmu.read(address, size) == content

    @invariant()
    def headers_say_what_is_allocated(self) -> None:
        for address, (size, paged, _) in self.live.items():
            if address % PAGE:
                word = self.nt.mmu.read_word(address - HEADER)
                assert word >> 32 == int.from_bytes(b"Test", "little")
                assert word >> 24 & 0xFF == (3 if paged else 2)
                assert (word >> 16 & 0xFF) * 16 == (max(size, 1) + HEADER + 15) & ~15

    @invariant()
    def usage_counts_what_is_allocated(self) -> None:
        for paged in (False, True):
            made, gone, _ = self.pool.usage.get(("Test", paged), [0, 0, 0])
            assert made - gone == sum(1 for _, kind, _ in self.live.values() if kind == paged)


TestPoolModel = PoolModel.TestCase
TestPoolModel.settings = settings(
    max_examples=12, stateful_step_count=40, deadline=None, derandomize=True
)
