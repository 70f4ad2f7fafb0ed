"""What a finished run is told as: its outcome, whether that was expected, how to see it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich_click as click

from ntsim.cli import INTERRUPTED, NTSIM_FAILED, report_own_failure
from ntsim.errors import Hang

if TYPE_CHECKING:
    from ntsim.lab.run import Options, Run
    from ntsim.lab.target import Target


def print_run(made: Run, judgement: list[str], target: Target, options: Options) -> None:
    """The whole story on stdout; what was said while it ran has been printed before."""
    lines = [*ending(made), *findings(made)]
    if judgement:
        lines += ["", *judgement]
    if made.result.outcome != "load_failed":
        lines += ["", f"Replay: {replay_line(made, target, options)}"]
    click.echo("\n".join(lines))


def print_own_failure(made: Run) -> None:
    """The traceback and how to report it, on stderr."""
    try:
        assert made.failure is not None
        raise made.failure
    except Exception:
        report_own_failure()


def ending(made: Run) -> Iterator[str]:
    """How it ended."""
    result = made.result
    if result.outcome == "bugcheck":
        yield made.machine.report().to_text()
        return
    yield ""
    if result.outcome == "interrupted":
        yield f"{'Interrupted' if made.result.error is None else 'Broken off'}. What was going on:"
    elif result.error is not None:
        text = made.failure.reason if isinstance(made.failure, Hang) else result.error.message
        yield f"{TITLES[result.outcome]}: {text}"
    for app in result.apps:
        code = "is still running" if app.exit_code is None else f"exited with {app.exit_code:#x}"
        yield f"{app.name} {code}" if app.exit_code != 0 else f"{app.name} exited with 0"
    for line in made.activity:
        yield f"  {line}"
    yield summary(made)


TITLES = {
    "hang": "Hang",
    "load_failed": "The driver did not load",
    "unmodelled": "Not modelled",
}


def summary(made: Run) -> str:
    """Size of the run in a line."""
    processors = made.result.processors
    count = "1 processor" if processors == 1 else f"{processors} processors"
    milliseconds = made.machine.nt.clock.now / 10_000
    return f"{count}, seed {made.result.seed}, {milliseconds:,.1f} ms of virtual time"


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
    if options.arguments:
        words += ["--", *options.arguments]
    return shlex.join(words)
