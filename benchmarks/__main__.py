"""`python -m benchmarks [NAME ...]`: measure, and print one table.

Each `bench_<name>.py` here has `measure() -> Iterator[Row]`. Figures are of this host at this
moment: compare ratios within one run, not numbers between hosts.
"""

import platform
import sys
from importlib import import_module
from pathlib import Path

import ntsim
from benchmarks.row import Row


def main(wanted: list[str]) -> None:
    known = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    names = [f"bench_{name}" for name in wanted] or known
    for name in names:
        if name not in known:
            choices = ", ".join(each.removeprefix("bench_") for each in known)
            sys.exit(f"no benchmark is called {name.removeprefix('bench_')!r}: use {choices}")
    print(f"ntsim {ntsim.__version__}, Python {platform.python_version()}, {platform.machine()}\n")
    print(f"{'what':<56} {'measured':>12} {'unit':<6} {'aim':>12}")
    for name in names:
        for row in import_module(f"benchmarks.{name}").measure():
            print(shown(row), flush=True)


def shown(row: Row) -> str:
    limit = "<= " if row.at_most else ">= "
    aim = "" if row.aim is None else f"{limit}{row.aim:,.0f}"
    line = f"{row.what:<56} {row.measured:>12,.1f} {row.unit:<6} {aim:>12}".rstrip()
    return f"{line}\n{row.note}" if row.note else line


if __name__ == "__main__":
    main(sys.argv[1:])
