"""`ntsim new`: a project to start from."""

from pathlib import Path

import rich_click as click


@click.command(name="new")
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write a driver, an app and a test that run at once.

    NAME is the new folder, and the driver's name.
    """
    from ntsim.lab.project import create, module_name

    written = create(folder)
    name = module_name(folder.name)
    click.echo(f"{folder}:")
    click.echo("\n".join(f"  {path}" for path in written))
    click.echo(f"\ncd {folder}")
    click.echo(f"ntsim run driver/{name}.py --app userapp/{name}_app.py")
    click.echo("pytest")
