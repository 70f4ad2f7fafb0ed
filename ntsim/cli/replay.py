"""`ntsim replay`: the same run again, and whether it ends the same way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from ntsim.cli.run import (
    RunCommand,
    execute,
    find_target,
    parse_stub,
    refuse_extra,
    run_options,
)
from ntsim.cli.verdict import verdict
from ntsim.errors import ConfigurationError

if TYPE_CHECKING:
    from ntsim.lab.result import RunResult
    from ntsim.lab.run import Run


@click.command(name="replay", cls=RunCommand)
@click.argument("recorded", metavar="RECORDED")
@click.argument("target", required=False)
@click.argument("extra", nargs=-1, metavar="[-- ARGUMENT ...]")
@run_options
@click.option("--cpu", metavar="NAME", help="The processor model as it was then.")
@click.option("--verifier", metavar="LIST", help="Driver Verifier as it was then.")
@click.option(
    "--stub", "stubs", metavar="NAME=VALUE", multiple=True, help="Replaced routines as they were."
)
@click.pass_context
def command(
    ctx: click.Context,
    extra: tuple[str, ...],
    recorded: str,
    target: str | None,
    apps: tuple[str, ...],
    plugged: tuple[str, ...],
    fixed: bool,
    limit: float | None,
    events: str | None,
    as_json: bool,
    cpu: str | None,
    verifier: str | None,
    stubs: tuple[str, ...],
) -> int:
    """Run TARGET again as it was RECORDED.

    RECORDED is a schedule string such as 1.random.7.4, or the file of an earlier
    `ntsim run --json`: then the outcomes are compared as well, and the exit status is 0 if they are
    the same. TARGET, --app, --cpu and --verifier are what was given then, --stub
    too where RECORDED is no file; arguments of the app stand after --.
    """
    from ntsim.lab.run import Options

    refuse_extra(extra)
    earlier = read_result(recorded) if is_file(recorded) else None
    if target is None:
        raise click.UsageError(
            "a schedule says in which order processors took turns, not what they ran: "
            f"ntsim replay {recorded} TARGET"
        )
    schedule = recorded if earlier is None else earlier.schedule
    arguments = ctx.meta["app arguments"]
    replaced = tuple(parse_stub(text) for text in stubs)
    if earlier is not None and not replaced:
        replaced = tuple((name, int(value, 16)) for name, value in earlier.stubs.items())
    options = Options(
        schedule=schedule, arguments=arguments, verifier=verifier, stubs=replaced, cpu=cpu
    )
    compare = None if earlier is None else lambda made: comparison(made, earlier)
    found = find_target(target, apps, fixed, plugged)
    return execute(found, options, limit, events, as_json, compare)


def is_file(text: str) -> bool:
    """Whether RECORDED is a file's name rather than a schedule."""
    return Path(text).exists() or text.endswith(".json") or "/" in text or "\\" in text


def read_result(path: str) -> RunResult:
    """An earlier run's JSON; ConfigurationError if it is not one."""
    from pydantic import ValidationError

    from ntsim.lab.result import RunResult

    try:
        result = RunResult.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(
            f"{path} is not the result of ntsim run --json: {where}: {first['msg']}"
        ) from None
    if not result.schedule:
        raise ConfigurationError(f"{path}: that run ended before its machine had a schedule")
    return result


def comparison(made: Run, earlier: RunResult) -> tuple[int, list[str]]:
    """Exit status and lines: is it the same run?"""
    if made.result.outcome == "interrupted":
        return verdict(made)
    different = made.result.differences(earlier)
    if not different:
        return 0, ["The same as recorded."]
    lines = ["NOT the same as recorded (exit status 1):"]
    for name in different:
        then, now = getattr(earlier, name), getattr(made.result, name)
        lines += [f"  {name} then: {then!r}", f"  {name} now:  {now!r}"]
    if earlier.ntsim != made.result.ntsim:
        lines.append(f"  recorded by ntsim {earlier.ntsim}, this is {made.result.ntsim}")
    return 1, lines
