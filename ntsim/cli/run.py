"""`ntsim run`: drivers and apps on a machine, and whether it ended as it should."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from ntsim.abi.bugcodes import code_of
from ntsim.cli import NTSIM_FAILED
from ntsim.cli.numbers import debugger_number
from ntsim.errors import ConfigurationError, ScheduleError

if TYPE_CHECKING:
    from ntsim.cli.console import Console
    from ntsim.lab.event_log import EventLog
    from ntsim.lab.expectation import Expectation
    from ntsim.lab.run import Options, Run
    from ntsim.lab.target import Target


class RunCommand(click.RichCommand):
    """A command that hands what stands after `--` to the app."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, rest = args, []
        if "--" in args:
            at = args.index("--")
            own, rest = args[:at], args[at + 1 :]
        ctx.meta["app arguments"] = tuple(rest)
        return super().parse_args(ctx, list(own))


def run_options(function: click.decorators.FC) -> click.decorators.FC:
    """The options that `ntsim run` and `ntsim replay` share."""
    for option in reversed(
        [
            click.option(
                "--app", "apps", metavar="APP", multiple=True,
                help="A user-mode app to run, a .py file; several run at once.",
            ),
            click.option(
                "--plug", "plugged", metavar="ID[,irq=N][,ports=FIRST:COUNT][,memory=BYTES]",
                multiple=True,
                help="Plug a device with this hardware ID in, for a driver with AddDevice.",
            ),
            click.option("--fixed", is_flag=True, help="The scenario's version put right."),
            click.option(
                "--limit", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True),
                help="Give up after so many seconds of real time: outcome hang.",
            ),
            click.option("--events", metavar="FILE", help="Write every event to FILE, one a line."),
            click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        ]
    ):  # fmt: skip
        function = option(function)
    return function


@click.command(name="run", cls=RunCommand)
@click.argument("target")
@click.argument("extra", nargs=-1, metavar="[-- ARGUMENT ...]")
@run_options
@click.option(
    "--processors",
    metavar="N",
    type=click.IntRange(1, 64),
    help="1 to 64 logical processors. [default: 4, or the scenario's]",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    help="Chooses memory layout and schedule; the same seed is the same run. [default: 0]",
)
@click.option(
    "--strategy",
    metavar="S",
    help="Who runs next: rr (round robin) or random. [default: rr for seed 0, else random]",
)
@click.option("--schedule", metavar="S", help="Replay a recorded schedule.")
@click.option(
    "--cpu",
    metavar="NAME",
    help="Processor model: i7-6820HQ (default), Xeon-W3670, i7-1065G7; see `ntsim doctor`.",
)
@click.option(
    "--verifier",
    metavar="LIST",
    help="Driver Verifier: standard, or options and DDI compliance rules separated by commas "
    "(special-pool, force-irql, pool-tracking, io, deadlock, ...); name.sys restricts it to that "
    "driver, -name leaves an option out.",
)
@click.option(
    "--stub",
    "stubs",
    metavar="NAME=VALUE",
    multiple=True,
    help="A kernel routine that does nothing and returns VALUE; may be given several times.",
)
@click.option(
    "--expect",
    metavar="completed|0xCODE",
    help="How the run should end. [default: completed, or what the scenario says]",
)
@click.pass_context
def command(
    ctx: click.Context,
    extra: tuple[str, ...],
    target: str,
    apps: tuple[str, ...],
    plugged: tuple[str, ...],
    fixed: bool,
    limit: float | None,
    events: str | None,
    as_json: bool,
    processors: int | None,
    seed: int | None,
    strategy: str | None,
    schedule: str | None,
    cpu: str | None,
    verifier: str | None,
    stubs: tuple[str, ...],
    expect: str | None,
) -> int:
    """Run a scenario, or a driver and its apps.

    TARGET is a scenario (`ntsim scenarios` lists them), or the path of a driver if it has a
    separator or ends in .py. What stands after -- goes to the app:
    `ntsim run driver/eh.py --app userapp/ehapp.py -- one two`.

    Exit status: 0 the run ended as expected, 1 it did not, 2 it could not start, 3 ntsim itself
    failed, 130 Ctrl-C.
    """
    from ntsim.lab.run import Options

    refuse_extra(extra)
    arguments = ctx.meta["app arguments"]
    found = find_target(target, apps, fixed, plugged)
    if arguments and not found.apps:
        raise click.UsageError(f"{arguments[0]!r} after -- is for an app, and none is run")
    expected = None if expect is None else parse_expectation(expect)
    replaced = tuple(parse_stub(text) for text in stubs)
    for line in doubtful_stubs(found, [name for name, _ in replaced]):
        click.echo(line, err=True)
    options = Options(
        processors, seed, strategy, schedule, expected, arguments, verifier, replaced, cpu
    )
    return execute(found, options, limit, events, as_json)


def refuse_extra(extra: tuple[str, ...]) -> None:
    """A second positional argument: most likely the app."""
    if extra:
        raise click.UsageError(
            f"{extra[0]!r}: an app is given with --app, an app's arguments stand after --"
        )


def find_target(
    text: str, apps: tuple[str, ...], fixed: bool, plugged: tuple[str, ...]
) -> Target:
    """What TARGET, --app, --plug and --fixed name together."""
    from ntsim.lab.target import from_paths, is_path

    if is_path(text):
        if fixed:
            raise click.UsageError(f"--fixed is for scenarios; {text} is a path")
        return from_paths(text, apps, plugged)
    from ntsim.lab.scenarios import find

    scenario = find(text)
    if plugged:
        raise click.UsageError(f"--plug is for paths; scenario {text} brings its own devices")
    if apps:
        raise click.UsageError(
            f"scenario {text} brings its own app; to run another with its driver, copy the "
            "samples (ntsim samples DIR) and give the driver's path"
        )
    return scenario.target(fixed)


def parse_expectation(text: str) -> Expectation:
    """`completed`, or a bug check by number or name."""
    from ntsim.lab.expectation import COMPLETED, Expectation

    if text.lower() == "completed":
        return COMPLETED
    code = code_of(text)
    if code is None:
        code = debugger_number(text)
    if code is None or code >> 32:
        raise click.UsageError(f"--expect {text}: use completed, or a bug check's code as in 0x4a")
    return Expectation(code)


def parse_stub(text: str) -> tuple[str, int]:
    """NAME=VALUE of --stub."""
    name, _, value = text.partition("=")
    try:
        number = int(value, 0)
    except ValueError:
        number = -1 << 64
    if not name.isidentifier() or not -(1 << 63) <= number < 1 << 64:
        raise click.UsageError(f"--stub {text}: write NAME=VALUE, as in --stub ExFoo=0xc00000bb")
    return name, number


def doubtful_stubs(target: Target, names: list[str]) -> list[str]:
    """A line for each routine of --stub that Windows does not have and no driver imports."""
    from ntsim.abi import routines
    from ntsim.errors import DriverLoadError
    from ntsim.host.export_names import Standing, standing
    from ntsim.host.native_image import read_file
    from ntsim.host.pe import PeError

    unknown = [name for name in names if standing(name) is Standing.UNKNOWN]
    if not unknown or any(Path(each).suffix.lower() != ".sys" for each in target.drivers):
        return []
    try:
        wanted = {each.name for path in target.drivers for each in read_file(Path(path)).imports}
    except (DriverLoadError, PeError):
        return []
    lines = []
    for name in unknown:
        if name not in wanted:
            near = [known for known in routines.closest(name) if known in wanted]
            hint = f"; did you mean {near[0]}?" if near else ""
            lines.append(f"--stub {name} replaces nothing: no driver imports it{hint}")
    return lines


Judge = Callable[["Run"], tuple[int, list[str]]]
"""The exit status of a finished run, and what to tell people about it."""


def execute(
    target: Target,
    options: Options,
    limit: float | None,
    events: str | None,
    as_json: bool,
    judge: Judge | None = None,
) -> int:
    """Run, print, and the exit status; `judge` decides if not the target's expectation."""
    from ntsim.cli.console import Console
    from ntsim.cli.verdict import print_own_failure, print_run, verdict

    with ExitStack() as stack:
        console = stack.enter_context(Console(limit, live=not as_json))
        if events is not None:
            console.event_log = stack.enter_context(open_event_log(events))
        made = stack.enter_context(run_or_say_why_not(target, options, console, as_json))
        console.finish()
        status, lines = (judge or verdict)(made)
        if as_json:
            click.echo(made.result.to_json())
        else:
            print_run(made, lines, target, options)
        if status == NTSIM_FAILED:
            print_own_failure(made)
        return status


def run_or_say_why_not(target: Target, options: Options, console: Console, as_json: bool) -> Run:
    """The finished run. What keeps a machine from being built is an object in JSON, too.

    With JSON a driver's Python print goes to stderr: stdout is for the object.
    """
    from ntsim.lab.run import not_run, run

    try:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            return run(target, options, console.watch)
    except (ConfigurationError, ScheduleError):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if as_json:
            click.echo(not_run(target, options, error).to_json())
        raise


@contextmanager
def open_event_log(path: str) -> Iterator[EventLog]:
    """The recorder that writes to this file; ConfigurationError if it cannot be written."""
    from ntsim.lab.event_log import EventLog

    try:
        file = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    with file:
        yield EventLog(file)
