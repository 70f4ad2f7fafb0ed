"""`ntsim bugcheck`: a bug check in words, with the values of one crash filled in."""

import difflib
from collections.abc import Mapping, Sequence

import rich_click as click

from ntsim.abi.bugchecks import Description, SubCode, describe, not_raised
from ntsim.abi.bugcodes import NAMES, code_of
from ntsim.abi.irql import level_name
from ntsim.abi.ntstatus import status_name
from ntsim.cli.numbers import debugger_number


@click.command(name="bugcheck")
@click.argument("code")
@click.argument("parameters", nargs=-1, metavar="[P1 P2 P3 P4]")
def command(code: str, parameters: tuple[str, ...]) -> None:
    """Explain a bug check, and what its parameters mean.

    CODE is its number, in hexadecimal with or without 0x, or its name. With the parameters of a
    crash, hexadecimal as debuggers print them, only what applies to them is shown:
    `ntsim bugcheck d1 28 2 0 fffff80002001234`.
    """
    description = describe(parse_code(code))
    values = parse_parameters(parameters)
    click.echo("\n".join(explain(description, values)))


def parse_code(text: str) -> int:
    """The code of a number or name that a person typed."""
    code = code_of(text)
    if code is None:
        code = debugger_number(text)
    if code in NAMES:
        return code
    if code is None:
        near = difflib.get_close_matches(text.upper(), NAMES.values(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "give its number, as in 4a"
        raise click.UsageError(f"no bug check is called {text!r}: {hint}")
    raise click.UsageError(
        f"no documented bug check has the code {code:#x}; a driver may have codes of its own: look "
        "for its calls of KeBugCheckEx"
    )


def parse_parameters(texts: Sequence[str]) -> list[int]:
    """Up to four 64-bit values, hexadecimal as in a crash report."""
    if len(texts) > 4:
        raise click.UsageError(f"a bug check has four parameters, {len(texts)} were given")
    values = []
    for number, text in enumerate(texts, start=1):
        value = debugger_number(text.strip("(),"))
        if value is None or value >> 64:
            raise click.UsageError(
                f"parameter {number}, {text!r}, is not a 64-bit hexadecimal number such as "
                "fffff80002001234, fffff800`02001234 or 0x2"
            )
        values.append(value)
    return values


def explain(description: Description, values: Sequence[int]) -> list[str]:
    """The lines of the explanation, in the layout of !analyze -v."""
    lines = [f"{description.name} ({description.code:x})", description.text, ""]
    lines += arguments(description, values)
    if description.subcodes:
        lines += ["", *subcodes(description, values)]
    if description.dumps:
        lines += ["", f"In real dumps: {description.dumps}"]
    reason = not_raised().get(description.code)
    if reason:
        lines += ["", f"No run of ntsim ends in it: {reason}."]
    return lines


def arguments(description: Description, values: Sequence[int]) -> list[str]:
    """One line for each parameter: its value if given, and what it means in this case."""
    case = description.case(values)
    if not case.parameters and not values:
        return ["Its parameters are not documented."]
    lines = ["Arguments:"]
    for number in range(1, 5):
        given = [f"{value:016x}" for value in values[number - 1 : number]]
        parts = given + list(case.parameters[number - 1 : number])
        known = description.values.get(number, {})
        if given:
            parts[-1] += meaning_of(values[number - 1], known, case.kinds.get(number))
        elif known:
            parts[-1] += f" ({', '.join(f'{value:#x} {text}' for value, text in known.items())})"
        if parts:
            lines.append(f"Arg{number}: {', '.join(parts)}")
    return lines


def meaning_of(value: int, known: Mapping[int, str], kind: str | None) -> str:
    """What this value stands for, as the end of its line."""
    if value in known:
        return f": {known[value]}"
    if kind == "irql":
        return f": {level_name(value)}"
    if kind == "status":
        return f": {status_name(value & 0xFFFF_FFFF)}"
    return ""


def subcodes(description: Description, values: Sequence[int]) -> list[str]:
    """The rows that apply to the values; without values all of them."""
    if not values:
        return [f"{condition(row)}: {row.text}" for row in description.subcodes]
    matching = [row.text for row in description.matching(values)]
    return matching or ["No documented kind of it has these values."]


def condition(row: SubCode) -> str:
    """`parameter 1 = 0x13, 0x14`."""
    return " and ".join(
        f"Arg{number} = {', '.join(hex(value) for value in sorted(values))}"
        for number, values in row.when.items()
    )
