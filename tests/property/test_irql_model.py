"""Random raising, lowering, CLI, STI and DPCs on one processor against a small model of it."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ntsim.intrin import _disable, _enable
from ntsim.machine import Machine
from ntsim.wdm import *

DPCS = 3
STEPS = st.one_of(
    st.tuples(st.just("raise"), st.integers(0, 15)),
    st.tuples(st.just("lower"), st.integers(0, 15)),
    st.tuples(st.just("queue"), st.integers(0, DPCS - 1)),
    st.tuples(st.just("remove"), st.integers(0, DPCS - 1)),
    st.tuples(st.sampled_from(["cli", "sti"]), st.just(0)),
)


class Model:
    """IRQL, RFLAGS.IF, the DPC queue, and which DPCs have run."""

    def __init__(self) -> None:
        self.level, self.interrupts = 0, True
        self.queue: list[int] = []
        self.ran: list[int] = []

    def step(self, what: str, value: int) -> object:
        result: object = None
        if what in ("raise", "lower"):
            result, self.level = self.level, value
        elif what == "queue":
            result = value not in self.queue
            if result:
                self.queue.append(value)
        elif what == "remove":
            result = value in self.queue
            if result:
                self.queue.remove(value)
        else:
            self.interrupts = what == "sti"
        if self.level < DISPATCH_LEVEL and self.interrupts:
            self.ran += self.queue
            self.queue.clear()
        return None if what == "lower" else result


def execute(steps: list[tuple[str, int]]) -> list[object]:
    """The steps as a driver: after each, its result, the level, and the DPCs that have run."""
    log: list[object] = []

    def DriverEntry(DriverObject: object, RegistryPath: object) -> int:
        ran: list[int] = []
        dpcs = [KDPC() for _ in range(DPCS)]
        for number, dpc in enumerate(dpcs):
            KeInitializeDpc(dpc, lambda d, c, a, b: ran.append(c), number)
        does = {
            "raise": KfRaiseIrql,
            "lower": KeLowerIrql,
            "queue": lambda n: KeInsertQueueDpc(dpcs[n], NULL, NULL),
            "remove": lambda n: KeRemoveQueueDpc(dpcs[n]),
            "cli": lambda _: _disable(),
            "sti": lambda _: _enable(),
        }
        for what, value in steps:
            log.append((does[what](value), KeGetCurrentIrql(), list(ran)))
        _enable()
        KeLowerIrql(PASSIVE_LEVEL)
        log.append(list(ran))
        return STATUS_SUCCESS

    with Machine(processors=1, record=False) as machine:
        machine.load_driver(DriverEntry, name="drv.sys")
    return log


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(STEPS, max_size=30))
@example([("cli", 0), ("queue", 0), ("raise", 2), ("sti", 0), ("lower", 1)])
@example([("raise", 15), ("queue", 1), ("queue", 1), ("remove", 1), ("queue", 2), ("lower", 0)])
def test_a_processor_does_what_the_model_says(steps: list[tuple[str, int]]) -> None:
    model = Model()
    expected: list[object] = []
    for what, value in steps:
        result = model.step(what, value)
        expected.append((result, model.level, list(model.ran)))
    model.step("sti", 0)
    model.step("lower", 0)
    assert execute(steps) == [*expected, model.ran]
