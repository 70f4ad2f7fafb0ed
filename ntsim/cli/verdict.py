"""What a finished run is told as: its outcome, whether that was expected, how to see it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich_click as click

from ntsim.abi.ntstatus import status_name
from ntsim.cli import INTERRUPTED, NTSIM_FAILED, report_own_failure
from ntsim.errors import Hang

if TYPE_CHECKING:
    from ntsim.lab.run import Options, Run
    from ntsim.lab.target import Target


def print_run(made: Run, judgement: list[str], target: Target, options: Options) -> None:
    """The whole story on stdout; what was said while it ran has been printed before."""
    lines = [""]
    if made.result.outcome == "bugcheck":
        report: str = made.machine.report().to_text()
        lines += [report.rpartition("\n\nREPLAY:")[0]]
    else:
        lines += [*ending(made), *findings(made)]
    if judgement:
        lines += ["", *judgement]
    if made.result.outcome != "load_failed":
        lines += ["", f"REPLAY:  {replay_line(made, target, options)}"]
    click.echo("\n".join(lines))


def print_own_failure(made: Run) -> None:
    """The traceback and how to report it, on stderr."""
    try:
        assert made.failure is not None
        raise made.failure
    except Exception:
        report_own_failure()


def ending(made: Run) -> Iterator[str]:
    """How a run without a bug check ended."""
    result = made.result
    if result.outcome == "load_failed":
        yield f"The driver did not load: {made.failure}"
    elif result.outcome == "unmodelled":
        yield f"Not modelled: {made.failure}"
    elif result.outcome != "completed":
        yield from standstill(made)
    for app in result.apps:
        yield f"{app.name} {ended(app.exit_code)}"
    yield summary(made)


def ended(exit_code: int | None) -> str:
    """Small exit codes as numbers, others as the NTSTATUS they are."""
    if exit_code is None:
        return "has not ended"
    if exit_code < 0x1_0000:
        return f"exited with {exit_code}"
    return f"exited with {exit_code:#x}, {status_name(exit_code)}"


def standstill(made: Run) -> Iterator[str]:
    """What everybody was doing when a run was broken off."""
    from ntsim.watch.hang import hang_text

    failure = made.failure
    if isinstance(failure, Hang):
        yield hang_text(made.machine.nt, failure)
    else:
        reason = "ntsim failed" if made.result.error is not None else "Ctrl-C"
        text = hang_text(made.machine.nt, Hang((), reason))
        yield text.replace("HANG", "BROKEN OFF", 1)
    if made.interrupted_at is not None:
        file, line = made.interrupted_at
        yield f"\nThe code of {file}:{line} did not give its turn up and was broken off there."
    yield ""


def summary(made: Run) -> str:
    """Size of the run in a line."""
    processors = made.result.processors
    count = "1 processor" if processors == 1 else f"{processors} processors"
    time = duration(made.machine.nt.clock.now)
    return f"{count}, seed {made.result.seed}, {time} of virtual time"


def duration(time_100ns: int) -> str:
    """In the unit that gives one to four digits before the point."""
    units = (("s", 10_000_000), ("ms", 10_000), ("us", 10))
    unit, size = next((each for each in units if time_100ns >= 10 * each[1]), units[-1])
    return f"{time_100ns / size:,.1f} {unit}"


def findings(made: Run) -> Iterator[str]:
    found = made.result.findings
    if found:
        yield ""
        yield f"Findings ({len(found)}): Windows would not have noticed"
        for each in found:
            yield f"  {each.rule}, {each.routine}: {each.text}"


def verdict(made: Run) -> tuple[int, list[str]]:
    """Exit status, and what was expected, line by line."""
    if made.result.outcome == "interrupted":
        return (INTERRUPTED if made.result.error is None else NTSIM_FAILED), []
    expected = made.result.expected
    lines = ["As expected:" if expected else "NOT as expected (exit status 1):"]
    lines += [f"  {'yes' if holds else 'NO '}  {text}" for holds, text in made.verdicts]
    return (0 if expected else 1), lines


def replay_line(made: Run, target: Target, options: Options) -> str:
    """The command that does it all again."""
    words = ["ntsim", "run", *target.command, "--schedule", made.result.schedule]
    if options.verifier is not None:
        words += ["--verifier", options.verifier]
    if options.cpu is not None:
        words += ["--cpu", options.cpu]
    for name, value in options.stubs:
        words += ["--stub", f"{name}={value:#x}"]
    if options.arguments:
        words += ["--", *options.arguments]
    return shlex.join(words)
