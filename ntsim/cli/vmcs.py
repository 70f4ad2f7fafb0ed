"""`ntsim vmcs`: why a VM entry fails, for a VMCS that somebody wrote down; VMCS fields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from ntsim.lab.vmcs_audit import AuditResult, ViolationResult

_SHOWN_ZEROS = 12


@click.group(name="vmcs")
def command() -> None:
    """Find out why a VM entry fails, and read VMCS fields."""


@command.command(name="check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--cpu", metavar="NAME", help="The processor; default the file's, or the i7-6820HQ.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--all-zeros", is_flag=True, help="List every field that was assumed to be 0.")
def check(file: Path, cpu: str | None, as_json: bool, all_zeros: bool) -> int:
    """Check a VMCS written as JSON by all the rules of VM entry.

    FILE is a JSON object of fields by name or encoding, or one with the members fields, cpu, msrs,
    physical_address_bits, instruction, launch_state, processor, address and memory (docs/vmcs.md).
    Every rule that it breaks is shown, in the order in which a processor looks. Exit status 1 if
    there is one.
    """
    from ntsim.lab.vmcs_audit import audit_file

    result = audit_file(file, cpu)
    if as_json:
        click.echo(result.model_dump_json(indent=1))
    else:
        click.echo("\n".join(_report(result, all_zeros)))
    return 1 if result.violations or " fails: " in result.outcome else 0


def _report(result: AuditResult, all_zeros: bool) -> list[str]:
    lines = [f"{result.outcome}.", f"Checked for: {result.cpu}."]
    lines += [f"{remark[0].upper()}{remark[1:]}." for remark in result.remarks]
    stage = None
    for violation in result.violations:
        if violation.stage != stage:
            stage = violation.stage
            lines += ["", f"{stage[0].upper()}{stage[1:]} ({_consequence(violation)}):"]
        lines += _lines_of(violation)
    for text in result.not_checked:
        lines += ["", f"Not checked: {text}."]
    if result.unsupported_fields:
        names = ", ".join(result.unsupported_fields)
        lines += ["", f"Fields this processor lacks (VMWRITE fails with error 12): {names}."]
    if result.assumed_zero:
        lines += ["", _zeros(result.assumed_zero, all_zeros)]
    return lines


def _consequence(violation: ViolationResult) -> str:
    if violation.error is not None:
        return f"VMfailValid, error {violation.error}"
    return f"VM-entry failure {violation.exit_reason}, qualification {violation.qualification}"


def _lines_of(violation: ViolationResult) -> list[str]:
    return [
        f"  {violation.field} ({violation.encoding}) = {violation.value}",
        f"    {violation.rule}",
        f"    accepted: {violation.accepted}",
        f"    {violation.section}",
    ]


def _zeros(names: tuple[str, ...], all_zeros: bool) -> str:
    shown = names if all_zeros else names[:_SHOWN_ZEROS]
    more = len(names) - len(shown)
    text = f"Not in the file and assumed to be 0: {', '.join(shown)}"
    return f"{text} and {more} more (--all-zeros)." if more else f"{text}."


@command.command(name="fields")
@click.argument("pattern", required=False, default="")
@click.option("--cpu", metavar="NAME", help="Say which of them this processor has.")
def fields(pattern: str, cpu: str | None) -> None:
    """List VMCS fields whose name or encoding contains PATTERN."""
    from ntsim.lab.vmcs_fields import rows

    found = rows(pattern, cpu)
    if not found:
        raise click.UsageError(f"no VMCS field has {pattern!r} in its name or encoding")
    for row in found:
        absent = "" if row.present else "  not on this processor"
        click.echo(f"{row.encoding:#06x}  {row.bits:>2} bits  {row.kind:<12} {row.name}{absent}")


@command.command(name="decode")
@click.argument("field")
@click.argument("value", required=False)
def decode(field: str, value: str | None) -> None:
    """Take a field's encoding apart, and VALUE as that field has it.

    `ntsim vmcs decode 0x4002 0xb5186dfa` names the controls that are set.
    """
    from ntsim.lab.vmcs_fields import explain

    click.echo("\n".join(explain(field, value)))
