"""`ntsim imports`: what a compiled driver needs of the kernel, and what of it ntsim has."""

from pathlib import Path

import rich_click as click

from ntsim.errors import DriverLoadError
from ntsim.host.dependencies import Other, standing_of, what_is
from ntsim.host.export_names import Standing, is_kernel_module, standing
from ntsim.host.native_image import read_file
from ntsim.host.pe import Import, PeError

_MEANINGS: dict[Standing | Other, str] = {
    Standing.UNMODELLED: "the driver loads, and the run stops where it calls one",
    Standing.UNMODELLED_VARIABLE: "the driver loads, and the run stops where it touches one",
    Standing.UNKNOWN: "the driver does not load, on Windows neither",
    Other.NO_FILE: "the driver does not load unless that file lies beside it, or is loaded first",
    Other.NOT_EXPORTED: "the driver does not load, on Windows neither",
}
_FATAL = (Standing.UNKNOWN, Other.NO_FILE, Other.NOT_EXPORTED)


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
    rows = [(kind_of(file, each), each) for each in wanted]
    for kind, each in sorted(rows, key=lambda row: (row[1].module.lower(), row[1].label)):
        click.echo(f"{each.module:<14} {each.label:<36} {kind.value}")
    click.echo()
    kinds = [kind for kind, _ in rows]
    click.echo(summary(kinds))
    for module in sorted({each.module for kind, each in rows if kind is Other.NO_FILE}):
        if known := what_is(module):
            click.echo(f"{module} is {known.removeprefix('which is ')}")
    return int(any(kind in _FATAL for kind in kinds))


def kind_of(file: Path, wanted: Import) -> Standing | Other:
    """What becomes of one import of the driver in `file`."""
    if not is_kernel_module(wanted.module):
        return standing_of(file, wanted)
    return standing(wanted.name) if wanted.ordinal is None else Standing.UNKNOWN


def summary(kinds: list[Standing | Other]) -> str:
    """How many of each kind, and what that means."""
    lines = [f"{len(kinds)} imports"]
    for kind in (*Standing, *Other):
        if kind in kinds:
            meaning = f": {_MEANINGS[kind]}" if kind in _MEANINGS else ""
            lines.append(f"  {kinds.count(kind)} {kind.value}{meaning}")
    return "\n".join(lines)
