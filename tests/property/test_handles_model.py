"""Random handles against a dictionary: what each names, with which rights, and the counts."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ntsim.machine import Machine


class HandlesModel(RuleBasedStateMachine):
    """`open` maps a handle to (object, granted access)."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(processors=1, record=False)
        nt = self.nt = self.machine.nt
        self.table = nt.ps.system.handles
        self.before = set(self.table.handles())
        kind = nt.ob.types["SymbolicLink"]
        self.bodies = [nt.ob.create(kind, 0x40, None, "Test") for _ in range(4)]
        self.open: dict[int, tuple[int, int]] = {}

    def teardown(self) -> None:
        self.machine.close()

    @rule(
        which=st.integers(0, 3),
        access=st.integers(0, 0x1FF_FFFF),
        count=st.sampled_from([1, 1, 1, 3, 300]),
    )
    def insert(self, which: int, access: int, count: int) -> None:
        for _ in range(count):
            handle = self.table.insert(self.bodies[which], access)
            assert handle and handle % 4 == 0
            assert handle not in self.open
            self.open[handle] = (self.bodies[which], access)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[handle]
        assert self.table.close(handle)
        assert not self.table.close(handle)

    @rule(handle=st.one_of(st.integers(0, 5000), st.integers(0, 1 << 64)))
    def look_up_anything(self, handle: int) -> None:
        if handle // 4 * 4 not in self.open and handle // 4 * 4 not in self.before:
            assert self.table.lookup(handle) is None

    @invariant()
    def every_handle_names_its_object(self) -> None:
        for handle, expected in self.open.items():
            assert self.table.lookup(handle) == expected
            assert self.table.lookup(handle + 3) == expected, "the low two bits are ignored"

    @invariant()
    def the_table_lists_what_is_open(self) -> None:
        assert set(self.table.handles()) == self.before | set(self.open)
        assert self.table.count == len(self.before) + len(self.open)

    @invariant()
    def counts_in_the_headers_are_right(self) -> None:
        for body in self.bodies:
            handles = sum(1 for named, _ in self.open.values() if named == body)
            header = self.nt.ob.header(body)
            assert (header.HandleCount, header.PointerCount) == (handles, handles + 1)


TestHandlesModel = HandlesModel.TestCase
TestHandlesModel.settings = settings(
    max_examples=10, stateful_step_count=25, deadline=None, derandomize=True
)
