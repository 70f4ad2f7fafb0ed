"""Several threads and random operations on dispatcher objects, against a model of NT's rules.

A conductor gives one worker thread one operation at a time and lets everybody run until nothing
moves; so which waiter goes first is no accident, and the model can say it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ntsim.machine import Machine
from ntsim.wdm import *

WORKERS = 4
KINDS = ("notification", "synchronization", "semaphore", "mutex", "mutex")
LIMIT = 5
TIMEOUT, NOT_OWNED, LIMIT_EXCEEDED = 0x102, 0xC000_0046, 0xC000_0047

OBJECT = st.integers(0, len(KINDS) - 1)
OPERATION = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 1)),
    st.tuples(st.just("reset"), st.integers(0, 1)),
    st.tuples(st.just("pulse"), st.integers(0, 1)),
    st.tuples(st.just("release semaphore"), st.integers(1, 3)),
    st.tuples(st.just("release mutex"), st.integers(3, 4)),
    st.tuples(st.just("wait"), OBJECT),
    st.tuples(st.just("poll"), OBJECT),
    st.tuples(st.just("wait any"), st.lists(OBJECT, min_size=1, max_size=3, unique=True)),
    st.tuples(st.just("wait all"), st.lists(OBJECT, min_size=1, max_size=3, unique=True)),
)
PROGRAM = st.lists(st.tuples(st.integers(0, WORKERS - 1), OPERATION), max_size=25)


@dataclass
class Waiter:
    """A blocked thread: what it waits for, and whether for all of it."""

    worker: int
    objects: list[int]
    all: bool


@dataclass
class Model:
    """Signal states, mutex owners, blocked threads in the order in which they began to wait."""

    state: list[int] = field(default_factory=lambda: [0, 0, 1, 1, 1])
    owner: dict[int, int] = field(default_factory=dict)
    waiters: list[Waiter] = field(default_factory=list)
    results: list[tuple[int, int]] = field(default_factory=list)

    def blocked(self, worker: int) -> bool:
        return any(waiter.worker == worker for waiter in self.waiters)

    def signalled(self, number: int, worker: int) -> bool:
        owned = KINDS[number] == "mutex" and self.owner.get(number) == worker
        return self.state[number] > 0 or owned

    def take(self, number: int, worker: int) -> None:
        kind = KINDS[number]
        if kind == "synchronization":
            self.state[number] = 0
        elif kind in ("semaphore", "mutex"):
            self.state[number] -= 1
            if kind == "mutex":
                self.owner[number] = worker

    def signal(self, number: int) -> None:
        """The object's state has risen: waiters go, first come first served."""
        for waiter in list(self.waiters):
            if self.state[number] <= 0:
                return
            if number not in waiter.objects:
                continue
            if not waiter.all:
                self.take(number, waiter.worker)
                self.wake(waiter, waiter.objects.index(number))
            elif all(self.signalled(each, waiter.worker) for each in waiter.objects):
                for each in waiter.objects:
                    self.take(each, waiter.worker)
                self.wake(waiter, 0)

    def wake(self, waiter: Waiter, status: int) -> None:
        self.waiters.remove(waiter)
        self.results.append((waiter.worker, status))

    def do(self, worker: int, what: str, value: Any) -> None:
        """One operation of a thread that is not blocked."""
        if what in ("wait", "poll", "wait any", "wait all"):
            self.wait(worker, what, value if isinstance(value, list) else [value])
        else:
            self.results.append((worker, self.change(worker, what, value)))

    def change(self, worker: int, what: str, value: int) -> int:
        if what == "reset":
            old, self.state[value] = self.state[value], 0
        elif what in ("set", "pulse"):
            old, self.state[value] = self.state[value], 1
            if not old:
                self.signal(value)
            if what == "pulse":
                self.state[value] = 0
        elif what == "release semaphore":
            old = self.state[2]
            if old + value > LIMIT:
                return LIMIT_EXCEEDED
            self.state[2] += value
            self.signal(2)
        else:
            if self.owner.get(value) != worker:
                return NOT_OWNED
            old = self.state[value]
            self.state[value] += 1
            if self.state[value] == 1:
                del self.owner[value]
                self.signal(value)
        return old

    def wait(self, worker: int, what: str, objects: list[int]) -> None:
        ready = [each for each in objects if self.signalled(each, worker)]
        if what == "wait all":
            if len(ready) == len(objects):
                for each in objects:
                    self.take(each, worker)
                self.results.append((worker, 0))
            else:
                self.waiters.append(Waiter(worker, objects, True))
        elif ready:
            self.take(ready[0], worker)
            self.results.append((worker, objects.index(ready[0])))
        elif what == "poll":
            self.results.append((worker, TIMEOUT))
        else:
            self.waiters.append(Waiter(worker, objects, False))


def make_objects() -> list[Any]:
    """The dispatcher objects of KINDS, in nonpaged pool."""
    made: list[Any] = []
    for kind in KINDS:
        memory = ExAllocatePoolZero(NonPagedPoolNx, 0x40, 1)
        if kind == "semaphore":
            KeInitializeSemaphore(memory, 1, LIMIT)
        elif kind == "mutex":
            KeInitializeMutex(memory, 0)
        else:
            KeInitializeEvent(memory, KINDS.index(kind), FALSE)
        made.append(memory)
    return made


def perform(objects: list[Any], what: str, value: Any) -> int:
    """One operation by a worker; an exception's code if it raises one."""
    forever, zero = NULL, LARGE_INTEGER()
    try:
        if what == "set":
            return KeSetEvent(objects[value], 0, FALSE)
        if what == "reset":
            return KeResetEvent(objects[value])
        if what == "pulse":
            return KePulseEvent(objects[value], 0, FALSE)
        if what == "release semaphore":
            return KeReleaseSemaphore(objects[2], 0, value, FALSE)
        if what == "release mutex":
            return KeReleaseMutex(objects[value], FALSE)
        if what in ("wait", "poll"):
            timeout = zero if what == "poll" else forever
            return KeWaitForSingleObject(objects[value], Executive, KernelMode, FALSE, timeout)
        array = (PVOID * 3)()
        for index, number in enumerate(value):
            array[index] = objects[number]
        kind = WaitAll if what == "wait all" else WaitAny
        return KeWaitForMultipleObjects(
            len(value), array, kind, Executive, KernelMode, FALSE, forever, NULL
        )
    except StructuredException as e:
        return e.ExceptionCode


def execute(program: list[Any], skip: Any, processors: int, seed: int) -> list[Any]:
    """After each operation: the results so far, the objects' states, who is blocked.

    `skip(worker)` says that the operation cannot be given because the worker is blocked.
    """
    log: list[Any] = []

    def DriverEntry(DriverObject: Any, RegistryPath: Any) -> int:
        objects = make_objects()
        orders: list[Any] = [None] * WORKERS
        results: list[tuple[int, int]] = []
        idle = [True] * WORKERS
        calls = [ExAllocatePoolZero(NonPagedPoolNx, 0x20, 1) for _ in range(WORKERS)]

        def worker(number: int) -> None:
            while True:
                KeWaitForSingleObject(calls[number], Executive, KernelMode, FALSE, NULL)
                result = perform(objects, *orders[number])
                results.append((number, result))
                idle[number] = True

        for number in range(WORKERS):
            KeInitializeEvent(calls[number], SynchronizationEvent, FALSE)
            PsCreateSystemThread(0, NULL, NULL, NULL, worker, number)
        interval = LARGE_INTEGER()
        interval.QuadPart = -100_000
        for number, operation in program:
            if skip(number):
                log.append(None)
                continue
            orders[number], idle[number] = operation, False
            KeSetEvent(calls[number], 0, FALSE)
            KeDelayExecutionThread(KernelMode, FALSE, interval)
            states = [cast(each, PKEVENT).Header.SignalState for each in objects]
            log.append((sorted(results), states, [not each for each in idle]))
            results.clear()
        return STATUS_SUCCESS

    with Machine(processors=processors, seed=seed, record=False) as machine:
        machine.load_driver(DriverEntry, name="drv.sys")
    return log


@pytest.mark.parametrize(("processors", "seed"), [(1, 0), (3, 8)])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(PROGRAM)
@example([(0, ("wait", 1)), (1, ("wait", 1)), (2, ("set", 1)), (2, ("set", 1))])
@example([(0, ("wait", 3)), (1, ("wait all", [3, 0])), (0, ("set", 0)), (0, ("release mutex", 3))])
@example(
    [(0, ("wait", 2)), (1, ("wait", 2)), (2, ("wait any", [2, 1])), (3, ("release semaphore", 3))]
)
def test_waits_end_as_the_model_says(processors: int, seed: int, program: list[Any]) -> None:
    model = Model()
    expected: list[Any] = []
    blocked_at: list[bool] = []
    for worker, (what, value) in program:
        blocked_at.append(model.blocked(worker))
        if blocked_at[-1]:
            expected.append(None)
            continue
        model.results.clear()
        model.do(worker, what, value)
        blocked = [model.blocked(number) for number in range(WORKERS)]
        expected.append((sorted(model.results), list(model.state), blocked))
    turns = iter(blocked_at)
    assert execute(program, lambda worker: next(turns), processors, seed) == expected
