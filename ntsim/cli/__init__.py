"""The command line: one file per command, loaded when it is the one asked for.

A command is a click command named `command` in `ntsim/cli/<name>.py`; what it returns is the exit
status (None is 0). Statuses: 0 as expected, 1 not as expected, 2 usage or an unusable file, 3 ntsim
itself failed, 130 interrupted.
"""

import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import rich_click as click

import ntsim
from ntsim.errors import ConfigurationError, ScheduleError

USAGE = 2
NTSIM_FAILED = 3
INTERRUPTED = 130

OUTPUT_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What writing to a full disk or a terminal that went away ends in."""

COMMANDS = {
    "run": "Run a scenario, or a driver and its apps.",
    "scenarios": "List the scenarios, or tell the story of one.",
    "replay": "Run a recorded run again, and compare.",
    "new": "Write a driver, an app and a test that run at once.",
    "samples": "Copy the sample drivers and apps to a folder.",
    "doctor": "Try whether ntsim works on this computer.",
    "bugcheck": "Explain a bug check, and what its parameters mean.",
    "doc": "Show a kernel routine's prototype, IRQL contract and Python form.",
    "imports": "List what a compiled driver (.sys) imports, and what of it ntsim has.",
    "vmcs": "Find out why a VM entry fails: check a VMCS written as JSON, read its fields.",
    "ioctl": "Take an I/O control code apart, or put one together.",
}
"""Every command with its line in `ntsim --help`."""


class Commands(click.RichGroup):
    """A group that imports a command's module only to run it; help reads the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return click.RichCommand(name=cmd_name, short_help=COMMANDS[cmd_name])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            command = import_module(f"ntsim.cli.{name}").command
        return name, command, rest


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ntsim.__version__, prog_name="ntsim")
def ntsim_command() -> None:
    """A simulated Windows NT kernel: run drivers on it, and see how and why they crash."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit status."""
    # A machine is a hundred thousand objects that stay: look for dead ones less often.
    gc.set_threshold(50_000, 20, 100)
    try:
        status = ntsim_command.main(arguments, prog_name="ntsim", standalone_mode=False)
    except click.ClickException as error:
        show_usage_error(error)
        return USAGE
    except (ConfigurationError, ScheduleError) as error:
        click.echo(f"Error: {error}", err=True)
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except OSError as error:
        if error.filename is not None or error.errno not in OUTPUT_LOST:
            report_own_failure()
            return NTSIM_FAILED
        click.echo(f"Error: cannot write the output: {error.strerror}", err=True)
        give_up_output()
        return USAGE
    except Exception:
        report_own_failure()
        return NTSIM_FAILED
    return status if isinstance(status, int) else 0


def show_usage_error(error: click.ClickException) -> None:
    click.echo(f"Error: {error.format_message()}", err=True)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"See '{error.ctx.command_path} --help'.", err=True)


def give_up_output() -> None:
    """Let what stdout still holds go nowhere: writing it at exit would fail a second time."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def report_own_failure() -> None:
    """Show the traceback of the exception being handled, and what a report of it needs."""
    traceback.print_exc()
    version = sys.version.split()[0]
    click.echo(
        "\nThis is a mistake in ntsim, not in your driver. Please report it with the traceback"
        "\nabove, the files you ran and this line:"
        f"\n  ntsim {ntsim.__version__}, Python {version} on {sys.platform}:"
        f" ntsim {' '.join(sys.argv[1:])}",
        err=True,
    )
