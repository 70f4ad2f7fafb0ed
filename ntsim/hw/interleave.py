"""Many processors on one host thread: who runs next, and for how long.

Code on a processor runs in a greenlet, one for each kernel stack in use. At every *step* it may
lose the processor's turn: `step` counts the quantum down and, when it is used up, switches to the
hub, the greenlet that called `run`. The hub advances virtual time, makes clock ticks pending, asks
the strategy for the next processor and switches to whatever greenlet is executing there. A
processor that was switched in looks for deliverable interrupts first.

Rejected: one host thread per processor (33 us a switch against 0.7, and the host's scheduler would
decide); generators (every driver routine would have to be `yield from`).

Spinning. A processor that only spins makes no progress that anyone could see, so time may pass
faster: after `PATIENCE` steps without progress (fewer when all processors spin in PAUSE) a step
costs twice as much, then four times, and so on, up to 2**14. Watchdogs thus bite within a fraction
of a host second, and any progress puts the cost back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, Protocol

from greenlet import getcurrent, greenlet

from ntsim.errors import Hang, MachineClosed
from ntsim.hw.clock import STEP_100NS, TICK_100NS, Clock
from ntsim.hw.cpu import Processor

PATIENCE = 2_000_000
LABOUR = 10
"""What a privileged instruction, a port or a VM exit costs the host, in steps: patience is its."""
BALANCE_PERIOD_100NS = 10_000_000
PATIENCE_SPINNING = 20_000
DILATION_LIMIT = 14
PATIENCE_CLOSED = 100
"""How often one stack is told that the machine is closed before it is left alone."""

_STUBBORN: set[greenlet] = set()
"""Stacks that would not end; letting one go would make the interpreter try again."""

HANG_AFTER_100NS = 600 * 10_000_000


NextTimer = Callable[[Callable[[int], bool]], tuple[int, int] | None]
"""The earliest timer's (interrupt time, processor) among the processors that a test accepts."""


class Strategy(Protocol):
    """Chooses who runs: the only place where a run can differ from another."""

    def choose(self, runnable: Sequence[int]) -> tuple[int, int]:
        """(processor, quantum in steps), the processor being one of `runnable`."""


class MachineGreenlet(greenlet):  # type: ignore[misc]
    """A host stack of one machine's code; `machine` is how free functions find their machine."""

    machine: object


class Interleaver:
    """The processors of one machine taking turns.

    `interrupt(processor, vector)` is the kernel's interrupt entry, `next_timer` finds the earliest
    timer, `timers_due(now)` the processors with expired ones, `clock_vector` is what a tick
    requests, `timer_vector` the interrupt at whose level timers expire. `begin` is a host stack
    that the hub shall begin before anything else, `alone` the one processor that runs while the
    others stand still. `alarm` is asked, where there is one, whenever interrupts may come in.
    `progress` counts what happened; the kernel
    increments it. `quantum` is that of the current turn, in steps, and `cost` what a step takes in
    100 ns units: `time` says what they are good for.
    """

    def __init__(self, processors: list[Processor], clock: Clock, strategy: Strategy) -> None:
        self.processors, self.clock, self.strategy = processors, clock, strategy
        clock.exact = lambda: self.now
        self.current = processors[0]
        self.hub: greenlet | None = None
        self.interrupt: Callable[[Processor, int], None] = lambda processor, vector: None
        self.next_timer: NextTimer = lambda able: None
        self.timers_due: Callable[[int], Iterable[int]] = lambda now: ()
        self.watch: Callable[[], None] = lambda: None
        self.next_event: Callable[[tuple[int, int] | None], tuple[int, int] | None]
        self.next_event = lambda timer: timer
        """What an idle machine waits for, as (interrupt time, processor), given the next timer."""
        self.balance: Callable[[int], None] = lambda due: None
        self.next_balance = 0
        """While nothing runs, told at most once a second to what time the clock will jump."""
        self.woken: Callable[[Processor], None] = lambda processor: None
        """Is told of a processor whose HLT is over."""
        self.poll: Callable[[], None] = lambda: None
        self.alarm: Callable[[Processor], None] | None = None
        self.deadlines = False
        """Whether a processor may have a `Processor.deadline` at which `alarm` has to be asked."""
        self.clock_vector, self.timer_vector = 0xD1, 0x2F
        self.progress = 0
        self.closed = False
        self.alone: int | None = None
        self.begin: greenlet | None = None
        self._resting: set[int] = set()
        self._told: dict[greenlet, int] = {}
        self.quantum = 0
        self._seen_progress = 0
        self.labour = 0
        """Counts these in a turn."""
        self._idle_steps = 0
        self._spin_steps = 0
        self._stalled_since = 0
        self.cost = STEP_100NS

    def time(self) -> int:
        """Interrupt time in 100 ns units, up to the step being executed."""
        return self.clock.now + (self.quantum - self.current.budget) * self.cost

    @property
    def now(self) -> int:
        """The same."""
        return self.time()

    def step(self) -> None:
        """One step of work on the current processor; it may lose its turn here."""
        processor = self.current
        processor.budget -= 1
        if processor.budget < 0:
            self.give_way()

    def spin(self) -> None:
        """PAUSE: nothing to do until another processor has run."""
        processor = self.current
        processor.spinning = True
        self._spin_steps += 1
        processor.budget = min(processor.budget, 0) - 1
        self.give_way()

    def stall(self, duration: int) -> None:
        """Work of `duration` in 100 ns units, or as much of it as fits into the quantum."""
        processor = self.current
        processor.budget -= max(1, min(duration // self.cost, processor.budget + 1))
        if processor.budget < 0:
            self.give_way()

    def halt(self) -> None:
        """HLT: give the processor up until an interrupt is deliverable."""
        if self.current.hlt():
            self.current.halted = True
        self.give_way()
        self.current.awake()

    def rest(self) -> None:
        """HLT of a driver: the clock ends it as well; the idle loop does without ticks."""
        number = self.current.number
        self._resting.add(number)
        self.halt()
        self._resting.discard(number)

    def give_way(self) -> None:
        """Let the hub choose; afterwards take the interrupts that have become deliverable."""
        self.check_closed()
        assert self.hub is not None
        if self.alarm is not None and not self.current.halted:
            self.alarm(self.current)
        self.hub.switch()
        self.check_closed()
        processor = self.current
        if processor.halted:
            processor.halted = False
            self.woken(processor)
        self.take_interrupts()

    def enter(self, stack: greenlet) -> None:
        """Go on on another host stack; returns when somebody switches back to this one.

        A stack that has not begun is begun by the hub: begun here, it would lie as deep in the
        interpreter as this one, and a chain of them would run into the recursion limit.
        """
        if stack:
            stack.switch()
        else:
            assert self.hub is not None
            self.begin = stack
            self.hub.switch()

    def give_way_in_guest(self) -> None:
        """As `give_way`, for a processor in a VT-x guest: the guest's controls decide about
        interrupts, so none is taken here."""
        self.check_closed()
        assert self.hub is not None
        self.hub.switch()
        self.check_closed()

    def spin_in_guest(self) -> None:
        """As `spin`, for a processor in a VT-x guest or between one and its exit handler."""
        processor = self.current
        processor.spinning = True
        self._spin_steps += 1
        processor.budget = min(processor.budget, 0) - 1
        self.give_way_in_guest()

    def wait_in_guest(self) -> None:
        """A guest that has halted itself: nothing to do until an interrupt ends that, which may be
        the clock's."""
        processor = self.current
        processor.halted = True
        self._resting.add(processor.number)
        self.give_way_in_guest()
        self._resting.discard(processor.number)
        processor.halted = False

    def close(self) -> None:
        """The machine is dead: from now on every step raises MachineClosed."""
        self.closed = True
        for processor in self.processors:
            processor.budget = -1

    def check_closed(self) -> None:
        """MachineClosed if the machine has been closed."""
        if self.closed:
            self.refuse()

    def refuse(self, *_: object) -> NoReturn:
        """Raise MachineClosed. Code that catches it and goes on, again and again, is left where it
        is: control goes to who closes the machine, and the stack is kept for good."""
        here = getcurrent()
        self._told[here] = self._told.get(here, 0) + 1
        while self._told[here] > PATIENCE_CLOSED and here.parent is not None:
            _STUBBORN.add(here)
            here.parent.switch()
        raise MachineClosed

    def take_interrupts(self) -> None:
        """Deliver to the current processor what RFLAGS.IF and CR8 let through, highest first.

        Nothing is delivered while the machine does not run: what the caller of `run` has requested
        waits for the first turn.
        """
        if self.hub is None:
            return
        processor = self.current
        if self.alarm is not None:
            self.alarm(processor)
            processor = self.current
        apic = processor.apic
        while apic.requested and processor.rflags & 0x200:
            vector = apic.deliverable(processor.cr8)
            if vector < 0:
                return
            apic.accept(vector)
            self.interrupt(processor, vector)
            processor = self.current
            apic = processor.apic

    def run(self, finished: Callable[[], bool]) -> bool:
        """Let processors run until `finished()`; False if everything is idle before that."""
        assert self.hub is None, "the machine is already running"
        self.hub = getcurrent()
        try:
            while not finished():
                if not self._turn():
                    return False
            return True
        finally:
            self.hub = None

    def _turn(self) -> bool:
        """One quantum of one processor; False if no processor can ever run again."""
        runnable = self._runnable()
        while not runnable:
            due = self.next_event(self.next_timer(self._takes_ticks))
            tick = self._next_wake() if self._resting else None
            if self.deadlines and (due or tick) and self._wake(min(filter(None, (due, tick)))[0]):
                break
            if tick is not None and (due is None or tick < due):
                self._pass_to(*tick)
            elif due is None:
                return False
            else:
                self._jump(*due)
            runnable = self._runnable()
        runnable = runnable or self._runnable()
        number, quantum = self.strategy.choose(runnable)
        processor = self.current = self.processors[number]
        processor.budget = self.quantum = quantum
        if self.deadlines and (deadline := processor.deadline) is not None:
            processor.budget = self.quantum = self._steps_before(deadline, quantum)
        processor.spinning = False
        processor.greenlet.switch()
        while (stack := self.begin) is not None:
            self.begin = None
            stack.switch()
        processor = self.current
        self._account(processor, max(1, min(self.quantum - processor.budget, self.quantum)))
        return True

    def _steps_before(self, deadline: int, most: int) -> int:
        """How long a turn may be whose last step comes to `deadline`, in 100 ns units."""
        left = -(-(deadline - self.clock.now) // self.cost)
        return max(0, min(most, left - 1))

    def _wake(self, before: int) -> bool:
        """Let a halted processor run whose deadline comes `before` anything else happens."""
        found = [
            (deadline, p.number)
            for p in self.processors
            if p.halted and (deadline := p.deadline) is not None and deadline < before
        ]
        if not found:
            return False
        deadline, number = min(found)
        self.clock.now = max(self.clock.now, deadline)
        processor = self.processors[number]
        processor.halted = False
        self.woken(processor)
        return True

    def _runnable(self) -> list[int]:
        if self.alone is not None:
            return [self.alone]
        return [
            p.number
            for p in self.processors
            if not p.halted or (p.apic.requested and p.may_wake and p.apic.deliverable(p.cr8) >= 0)
        ]

    def _takes_ticks(self, number: int) -> bool:
        """Whether a halted processor would take the interrupts by which its timers expire."""
        processor = self.processors[number]
        return processor.may_wake and self.timer_vector >> 4 > processor.cr8

    def _account(self, processor: Processor, steps: int) -> None:
        """Advance time by `steps` and see whether anything happened in them."""
        clock = self.clock
        clock.now += steps * self.cost
        self.quantum = processor.budget = 0
        labour, self.labour = self.labour, 0
        if self.progress != self._seen_progress:
            self._seen_progress = self.progress
            self._idle_steps = self._spin_steps = 0
            self._stalled_since = clock.now
            self.cost = STEP_100NS
        else:
            self._idle_steps += steps + LABOUR * labour
            over = max(self._idle_steps - PATIENCE, self._spin_steps * 10 - PATIENCE_SPINNING)
            if over > 0:
                self.cost = STEP_100NS << min(over >> 10, DILATION_LIMIT)
            if clock.now - self._stalled_since > HANG_AFTER_100NS:
                raise Hang((), "no processor has made progress for ten minutes of virtual time")
        self._tick()
        self.poll()

    def _tick(self) -> None:
        """Make the clock interrupt pending where a processor's tick is due."""
        now = self.clock.now
        due = False
        for processor in self.processors:
            if processor.next_tick <= now:
                due = True
                processor.next_tick = now - now % TICK_100NS + TICK_100NS
                if not processor.halted or processor.number in self._resting:
                    processor.apic.request(self.clock_vector)
        if due:
            for number in self.timers_due(now):
                self.processors[number].apic.request(self.clock_vector)
            self.watch()

    def _next_wake(self) -> tuple[int, int] | None:
        """(time, processor) of the first tick that ends a driver's HLT."""
        found = [
            (p.next_tick, p.number)
            for p in self.processors
            if p.number in self._resting
            and p.may_wake
            and self.clock_vector >> 4 > p.cr8
        ]  # fmt: skip
        return min(found, default=None)

    def _jump(self, due: int, number: int) -> None:
        """Nothing can run before `due`, when a timer of a processor expires: pass the time."""
        self.progress += 1
        if due >= self.next_balance:
            self.next_balance = due + BALANCE_PERIOD_100NS
            self.balance(due)
        self._pass_to(due, number)

    def _pass_to(self, due: int, number: int) -> None:
        """The clock interrupt of a processor at `due`, with nothing before it."""
        clock = self.clock
        clock.now = max(clock.now, due)
        for processor in self.processors:
            processor.next_tick = clock.now - clock.now % TICK_100NS + TICK_100NS
        self.processors[number].apic.request(self.clock_vector)
        self.watch()
