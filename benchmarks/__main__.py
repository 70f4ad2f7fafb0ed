"""`python -m benchmarks [NAME ...]`: measure, and print one table.

Each `bench_<name>.py` here has `measure() -> Iterator[Row]`. Figures are of this host at this
moment: compare ratios within one run, not numbers between hosts.
"""

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.row import Row


def main(wanted: list[str]) -> None:
    known = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    names = [f"bench_{name}" for name in wanted] or known
    for name in names:
        if name not in known:
            choices = ", ".join(each.removeprefix("bench_") for each in known)
            sys.exit(f"no benchmark is called {name.removeprefix('bench_')!r}: use {choices}")
    print(f"{'what':<52} {'measured':>12} {'unit':<6} {'aim':>12}")
    for name in names:
        for row in import_module(f"benchmarks.{name}").measure():
            print(shown(row), flush=True)


def shown(row: Row) -> str:
    aim = "" if row.aim is None else f"{row.aim:,.0f}"
    return f"{row.what:<52} {row.measured:>12,.1f} {row.unit:<6} {aim:>12}"


if __name__ == "__main__":
    main(sys.argv[1:])
