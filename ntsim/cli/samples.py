"""`ntsim samples`: the sample drivers and apps, copied to where they can be changed."""

import shutil
from pathlib import Path

import rich_click as click

from ntsim.errors import ConfigurationError

PARTS = ("driver", "userapp")


@click.command(name="samples")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Copy the sample drivers and apps to DIR.

    DIR then holds driver/ and userapp/; nothing that is there already is overwritten.
    """
    copied = copy_samples(folder)
    click.echo(f"{copied} files in {folder}: driver/README.md says which belong together. Try")
    click.echo(
        f"  ntsim run {folder / 'driver' / 'hello.py'} --app {folder / 'userapp' / 'helloapp.py'}"
    )


def copy_samples(folder: Path) -> int:
    """Copy both folders; the number of files. ConfigurationError if one is there or cannot be."""
    from ntsim.lab.samples import samples_root

    root = samples_root()
    for part in PARTS:
        if (folder / part).exists():
            raise ConfigurationError(f"{folder / part} exists already: name another folder")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    try:
        for part in PARTS:
            shutil.copytree(root / part, folder / part, ignore=ignore)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder}: {error.strerror}") from None
    return sum(path.is_file() for part in PARTS for path in (folder / part).rglob("*"))
