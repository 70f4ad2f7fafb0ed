"""Running a target to its end: load the drivers, run the apps, look at what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import ntsim
from ntsim.errors import (
    BugCheck,
    ConfigurationError,
    DriverLoadError,
    Hang,
    ScheduleError,
    UnmodelledRoutine,
)
from ntsim.host.modules import SourceError
from ntsim.hw import silicon
from ntsim.hw.strategy import schedule as schedules
from ntsim.lab.expectation import Expectation
from ntsim.lab.facts import Facts
from ntsim.lab.hardware import plug
from ntsim.lab.registry import apply
from ntsim.lab.result import (
    AppResult,
    BugCheckResult,
    ErrorResult,
    FindingResult,
    Outcome,
    RunResult,
)
from ntsim.machine import Machine

if TYPE_CHECKING:
    from ntsim.lab.target import Target

AFTERWARDS_100NS = 10_000_000
"""How long the drivers run on when the last app has ended: one second of virtual time."""

Verdicts = tuple[tuple[bool, str], ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller of a run decides; None leaves it to the target or the schedule."""

    processors: int | None = None
    seed: int | None = None
    strategy: str | None = None
    schedule: str | None = None
    expected: Expectation | None = None
    arguments: tuple[str, ...] = ()
    verifier: str | None = None
    stubs: tuple[tuple[str, int], ...] = ()
    cpu: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. `failure` is the exception that ended it, if it was not a bug check."""

    machine: Machine
    result: RunResult
    expectation: Expectation
    verdicts: Verdicts
    failure: BaseException | None = None

    @property
    def interrupted_at(self) -> tuple[str, int] | None:
        """(file, line) of driver or app code that Ctrl-C broke off because it held its turn."""
        if not isinstance(self.failure, KeyboardInterrupt):
            return None
        return _source_line(self.failure, self.machine)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.machine.close()


def run(
    target: Target, options: Options = Options(), watch: Callable[[Machine], None] | None = None
) -> Run:
    """Run a target on a new machine; the Run owns the machine, closing it is the caller's.

    `watch` is given the machine before anything is loaded. Whatever ends the simulation becomes the
    result's outcome, KeyboardInterrupt and mistakes of ntsim too; ConfigurationError and
    ScheduleError are raised.
    """
    machine = build(target, options)
    failure: BaseException | None = None
    try:
        for name, value in options.stubs:
            machine.stub(name, value)
        apply(machine, target.registry)
        if watch is not None:
            watch(machine)
        _execute(machine, target, options.arguments or target.arguments)
    except BugCheck:
        pass
    except (ConfigurationError, ScheduleError):
        machine.close()
        raise
    except DriverLoadError as error:
        if isinstance(error.__cause__, SourceError):
            machine.close()
            raise ConfigurationError(error.message) from error
        failure = error
    except (Exception, KeyboardInterrupt) as error:
        failure = error
    return _finished(machine, options, options.expected or target.expected, failure)


def build(target: Target, options: Options) -> Machine:
    """The machine of a run; ScheduleError if options contradict the schedule they come with."""
    verifier = target.verifier if options.verifier is None else options.verifier
    cpu = options.cpu or silicon.DEFAULT.name
    if options.schedule is None:
        processors = target.processors if options.processors is None else options.processors
        seed = target.seed if options.seed is None else options.seed
        return Machine(
            processors=processors,
            seed=seed,
            strategy=options.strategy,
            cpu=cpu,
            verifier=verifier,
        )
    plan = schedules.parse(options.schedule)
    given = {"processors": options.processors, "seed": options.seed, "strategy": options.strategy}
    for name, value in given.items():
        recorded = getattr(plan, name)
        if value not in (None, recorded):
            raise ScheduleError(
                f"schedule {options.schedule!r} was recorded with --{name} {recorded}, not "
                f"{value}: leave --{name} out"
            )
    return Machine(
        processors=plan.processors,
        seed=plan.seed,
        schedule=options.schedule,
        cpu=cpu,
        verifier=verifier,
    )


def _execute(machine: Machine, target: Target, arguments: tuple[str, ...]) -> None:
    drivers = [machine.load_driver(path) for path in target.drivers]
    devices = [plug(machine, setup, drivers[-1]) for setup in target.devices]
    processes = [machine.start(path, args=arguments) for path in target.apps]
    machine.run_to_exit(processes)
    machine.run_for(AFTERWARDS_100NS)
    if target.sleep:
        machine.sleep("S3")
        machine.wake()
    if target.unload:
        for device in devices:
            device.remove()
        for driver in reversed(drivers):
            if not driver.unloaded:  # a PnP driver goes with its last device
                machine.unload_driver(driver)


def _finished(
    machine: Machine, options: Options, expectation: Expectation, failure: BaseException | None
) -> Run:
    outcome = _outcome(machine, failure)
    verdicts = tuple(expectation.verdicts(outcome, Facts(machine)))
    result = RunResult(
        schema=1,
        ntsim=ntsim.__version__,
        outcome=outcome,
        expected=all(holds for holds, _ in verdicts),
        bugcheck=_bugcheck(machine.bugcheck),
        error=_error(machine, failure),
        findings=tuple(
            FindingResult(rule=f.rule, routine=f.routine, text=f.text) for f in machine.findings
        ),
        debug_output=tuple(machine.debug_output),
        apps=tuple(
            AppResult(name=p.name, exit_code=p.exit_code, stdout=p.stdout, stderr=p.stderr)
            for p in machine.processes
        ),
        seed=machine.seed,
        processors=machine.processors,
        schedule=machine.schedule,
        stubs={name: hex(value) for name, value in options.stubs},
    )
    return Run(machine, result, expectation, verdicts, failure)


def not_run(target: Target, options: Options, error: BaseException) -> RunResult:
    """The result when there is no machine: Ctrl-C, or a mistake of ntsim, before there was one."""
    processors = target.processors if options.processors is None else options.processors
    seed = target.seed if options.seed is None else options.seed
    return RunResult(
        schema=1,
        ntsim=ntsim.__version__,
        outcome="interrupted",
        expected=False,
        bugcheck=None,
        error=_error(None, error),
        findings=(),
        debug_output=(),
        apps=(),
        seed=seed,
        processors=processors,
        schedule=options.schedule or "",
        stubs={name: hex(value) for name, value in options.stubs},
    )


def _outcome(machine: Machine, failure: BaseException | None) -> Outcome:
    if machine.bugcheck is not None:
        return "bugcheck"
    if failure is None:
        return "completed"
    if isinstance(failure, Hang):
        return "hang"
    if isinstance(failure, DriverLoadError):
        return "load_failed"
    return "unmodelled" if isinstance(failure, UnmodelledRoutine) else "interrupted"


def _bugcheck(crash: BugCheck | None) -> BugCheckResult | None:
    if crash is None:
        return None
    one, two, three, four = (hex(value) for value in crash.parameters)
    return BugCheckResult(code=hex(crash.code), name=crash.name, parameters=(one, two, three, four))


def _error(machine: Machine | None, failure: BaseException | None) -> ErrorResult | None:
    """What the exception says, and the line of the driver or app that it comes from."""
    if isinstance(failure, DriverLoadError | UnmodelledRoutine):
        return ErrorResult(
            kind="load_failed" if isinstance(failure, DriverLoadError) else "unmodelled",
            message=str(failure),
            file=failure.file or None,
            line=failure.line or None,
        )
    if isinstance(failure, Hang):
        return ErrorResult(kind="hang", message="\n".join([failure.reason, *failure.waits]))
    if isinstance(failure, KeyboardInterrupt):
        return None
    if failure is not None:
        return _placed("internal", f"{type(failure).__name__}: {failure}", failure, None)
    state = machine.nt.bugcheck_state if machine is not None else None
    error = getattr(state.fault, "error", None) if state is not None else None
    if error is None:
        return None
    return _placed("python", f"{type(error).__name__}: {error}", error, machine)


def _placed(kind: str, message: str, error: BaseException, machine: Machine | None) -> ErrorResult:
    """The error with the innermost line of the machine's drivers and apps, or of any source."""
    file, line = _source_line(error, machine) or (None, None)
    return ErrorResult(kind=kind, message=message, file=file, line=line)


def _source_line(error: BaseException, machine: Machine | None) -> tuple[str, int] | None:
    """(file, line) of the innermost frame in the machine's drivers and apps, or in any source."""
    found = None
    step = error.__traceback__
    while step is not None:
        name = step.tb_frame.f_code.co_filename
        if machine is None or name in machine.nt.host.files:
            found = name, step.tb_lineno
        step = step.tb_next
    return found
