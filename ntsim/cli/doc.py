"""`ntsim doc`: the contract of one kernel routine, and how a Python driver calls it."""

import textwrap
from collections.abc import Iterator

import rich_click as click

from ntsim.abi import routines
from ntsim.abi.routines import Routine


@click.command(name="doc")
@click.argument("routine")
def command(routine: str) -> None:
    """Show a kernel routine's prototype, IRQL contract and Python form.

    ROUTINE is its exact name, such as KeDelayExecutionThread.
    """
    try:
        found = routines.lookup(routine)
    except KeyError:
        raise click.UsageError(unknown(routine)) from None
    click.echo("\n".join([c_prototype(found), "", *rows(found)]))


def unknown(name: str) -> str:
    near = routines.closest(name)
    hint = f"did you mean {' or '.join(near)}?" if near else "names are spelled as in the WDK"
    return f"no kernel routine is called {name!r}: {hint}"


def c_prototype(routine: Routine) -> str:
    """The declaration, a parameter a line with its direction as the documentation writes it."""
    if not routine.typed:
        names = ", ".join(parameter.name for parameter in routine.parameters)
        return f"{routine.name}({names})  // a macro: the types are not known"
    cells = []
    for parameter in routine.parameters:
        if parameter.name == "...":
            cells.append(("[in]", "...", ""))
            continue
        direction = "in, out" if parameter.direction == "inout" else parameter.direction
        optional = ", optional" if parameter.optional else ""
        pointer = parameter.type.replace(" *", "*")
        cells.append((f"[{direction}{optional}]", pointer, parameter.name))
    if not cells:
        return f"{routine.prototype};"
    widths = [max(len(row[column]) for row in cells) for column in (0, 1)]
    lines = [f"    {d:<{widths[0]}} {t:<{widths[1]}} {n}".rstrip() for d, t, n in cells]
    return "\n".join([f"{routine.returns} {routine.name}(", ",\n".join(lines), ");"])


def rows(routine: Routine) -> Iterator[str]:
    """What is known beside the prototype, titles on the left, lines wrapped."""
    for title, lines in sections(routine):
        indent = f"{title:<10}"
        for line in lines:
            yield textwrap.fill(line, 100, initial_indent=indent, subsequent_indent=" " * 14)
            indent = " " * 10


def sections(routine: Routine) -> Iterator[tuple[str, list[str]]]:
    """Titles and lines of what is known beside the prototype."""
    yield "IRQL", irql(routine)
    if routine.typed:
        yield "Python", python_forms(routine)
    if routine.macro_over:
        yield "On x64", [f"a macro or inline function over {routine.macro_over}"]
    elif routine.inline:
        yield "On x64", ["a macro or inline function of the headers, not an export"]
    if routine.undocumented:
        yield "Note", ["exported but not documented by Microsoft"]
    if routine.rules:
        yield "Rules", rules(routine)
    yield "Modelled", [modelled(routine.name)]


def irql(routine: Routine) -> list[str]:
    if routine.irql is None:
        return ["not stated"]
    lines = routine.irql.clauses()
    if routine.irql.documented:
        stated = routines.span(*routine.irql.documented)
        lines.append(f"the documentation says {stated}, the header's annotation what stands above")
    return lines


def python_forms(routine: Routine) -> list[str]:
    """The call with out arguments left out, if it has any, and the call with C's full list."""
    names = ["*arguments" if p.name == "..." else p.name for p in routine.parameters]
    result = {"VOID": "", "NTSTATUS": "Status"}.get(routine.returns, "Result")
    returned = [parameter.name for parameter in routine.parameters if parameter.returned]
    full = call(routine.name, names, [result] if result else [])
    if not returned:
        return [full]
    passed = [name for name in names if name not in returned]
    results = [result, *returned] if result else returned
    stored = f"{' and '.join(returned)} stored through, as in C"
    return [call(routine.name, passed, results), f"or {full}, {stored}"]


def call(name: str, arguments: list[str], results: list[str]) -> str:
    target = f"{', '.join(results)} = " if results else ""
    return f"{target}{name}({', '.join(arguments)})"


def rules(routine: Routine) -> list[str]:
    """Verifier rules that look at the routine, with the sub-code where Windows reports one."""
    codes = routines.verifier_rules()
    reported = [reported_rule(rule, codes[rule]) for rule in routine.rules if codes.get(rule)]
    static = [rule for rule in routine.rules if not codes.get(rule)]
    lines = [f"Driver Verifier: {', '.join(reported)}"] if reported else []
    return [*lines, f"static only: {', '.join(static)}"] if static else lines


def reported_rule(rule: str, code: int | None) -> str:
    from ntsim.nt.vf.rule_names import RULES

    return f"{rule} (0xC4/{code:#x}{'' if rule in RULES else ', not modelled'})"


def modelled(name: str) -> str:
    from ntsim.host.macros import MACROS
    from ntsim.nt.exports import is_modelled

    if name in MACROS or is_modelled(name):
        return "yes"
    return f"no: a driver that uses {name} loads, and the run stops where it calls it"
