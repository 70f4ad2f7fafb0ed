"""`ntsim doctor`: whether ntsim works on this computer, check by check."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import rich_click as click

import ntsim

if TYPE_CHECKING:
    from ntsim.lab.doctor import Finding

MARKS = {True: "ok", False: "FAIL", None: "-"}


@click.command(name="doctor")
@click.option("--cpu", metavar="NAME", help="Show what this CPU model lacks; default all of them.")
def command(cpu: str | None) -> int:
    """Try whether ntsim works on this computer.

    Checks Python, the libraries, and every behaviour of the engine that ntsim relies on, and shows
    what the modelled processors lack. Exit status 1 if a check fails.
    """
    from ntsim.hw import silicon
    from ntsim.lab import doctor

    shown = [silicon.silicon_of(cpu).name] if cpu else list(silicon.PROCESSORS)
    click.echo(f"ntsim {ntsim.__version__}\n\nThis computer")
    failed = show(doctor.host())
    click.echo("\nThe engine that runs guests")
    failed += show(doctor.engine())
    for name in shown:
        click.echo(f"\nMasked: what the {name} has and the model of it has not")
        for registers, reasons in doctor.cpu_mask(name).items():
            click.echo("\n".join([f"  {registers}", *(f"    {reason}" for reason in reasons)]))
    click.echo(f"\n{failed} checks failed: ntsim will not work here." if failed else "\nAll well.")
    return 1 if failed else 0


def show(findings: Iterable[Finding]) -> int:
    """Print each as it is found; how many failed."""
    failed = 0
    for found in findings:
        failed += found.ok is False
        click.echo(f"  {MARKS[found.ok]:<5}{found.name:<52} {found.detail}".rstrip())
    return failed
