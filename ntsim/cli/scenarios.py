"""`ntsim scenarios`: the stories that come with ntsim, and the whole of one."""

import textwrap

import rich_click as click


@click.command(name="scenarios")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the scenarios, or tell the story of one.

    A scenario is a driver with an app, a story, and how it should end: `ntsim run NAME`.
    """
    click.echo("\n".join(overview() if name is None else details(name)))


def overview() -> list[str]:
    """Every scenario below its group's title; `=` marks those with nothing to put right."""
    from ntsim.lab.scenarios import GROUPS, NAMES, find

    width = max(map(len, NAMES))
    lines = []
    for title, names in GROUPS.items():
        lines += [title, ""]
        for scenario in map(find, names):
            mark = "=" if scenario.fixed is None else " "
            lines.append(f"{mark} {scenario.name:<{width}}  {scenario.summary}")
        lines.append("")
    return [
        *lines,
        "ntsim scenarios NAME     tells its story",
        "ntsim run NAME           runs it",
        "ntsim run NAME --fixed   runs it put right (=: there is nothing to put right)",
    ]


def details(name: str) -> list[str]:
    from ntsim.lab.scenario import Case
    from ntsim.lab.scenarios import find

    scenario = find(name)

    def files(case: Case) -> str:
        return ", ".join((*case.drivers, *case.apps))

    rows = [
        ("Story", scenario.story),
        ("Files", files(scenario.case)),
        *([("Verifier", scenario.case.verifier)] if scenario.case.verifier else []),
        ("Ends", scenario.case.ends),
        ("Look at", scenario.look_at),
        ("Source", scenario.source),
        ("Run", f"ntsim run {name}"),
    ]
    if scenario.fixed is not None:
        rows += [
            ("Fixed", f"ntsim run {name} --fixed ({files(scenario.fixed)})"),
            ("", scenario.fixed.ends),
        ]
    lines = [f"{scenario.name}: {scenario.summary}", ""]
    for title, text in rows:
        lines += textwrap.wrap(text, 96, initial_indent=f"{title:<9}", subsequent_indent=" " * 9)
    return lines
