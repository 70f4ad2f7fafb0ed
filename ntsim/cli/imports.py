"""`ntsim imports`: what a compiled driver needs of the kernel, and what of it ntsim has."""

from pathlib import Path

import rich_click as click

from ntsim.errors import DriverLoadError
from ntsim.host.export_names import Standing, is_kernel_module, standing
from ntsim.host.native_image import read_file
from ntsim.host.pe import Import, PeError

OTHER_MODULE = "another driver's"
_MEANINGS = {
    Standing.UNMODELLED: "the driver loads, and the run stops where it calls one",
    Standing.UNMODELLED_VARIABLE: "the driver loads, and the run stops where it touches one",
    Standing.UNKNOWN: "the driver does not load, on Windows neither",
}


@click.command(name="imports")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> int:
    """List what a compiled driver imports: modelled, known but not modelled, unknown.

    FILE is a .sys file. The exit status is 1 if the driver would not load.
    """
    if not file.is_file():
        raise click.UsageError(f"{file}: no such file")
    try:
        wanted = read_file(file).imports
    except (DriverLoadError, PeError) as error:
        raise click.UsageError(str(error)) from None
    rows = [(kind_of(each), each) for each in wanted]
    for kind, each in sorted(rows, key=lambda row: (row[1].module.lower(), row[1].label)):
        click.echo(f"{each.module:<14} {each.label:<36} {kind}")
    click.echo()
    click.echo(summary([kind for kind, _ in rows]))
    return int(any(kind == Standing.UNKNOWN.value for kind, _ in rows))


def kind_of(wanted: Import) -> str:
    """What becomes of one import, in a few words."""
    if not is_kernel_module(wanted.module):
        return OTHER_MODULE
    return (standing(wanted.name) if wanted.ordinal is None else Standing.UNKNOWN).value


def summary(kinds: list[str]) -> str:
    """How many of each kind, and what that means."""
    lines = [f"{len(kinds)} imports"]
    meanings = {kind.value: f": {text}" for kind, text in _MEANINGS.items()}
    for kind in (*(each.value for each in Standing), OTHER_MODULE):
        if kind in kinds:
            lines.append(f"  {kinds.count(kind)} {kind}{meanings.get(kind, '')}")
    return "\n".join(lines)
