"""Where facts are tested: `facts.json` for the first collection, docs/conformance.md for the rest.

`facts.json` names, for each of the facts with which the kernel's behaviour was first written down,
the tests that assert it. The later ones are functions in `facts/`, listed on the page.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .facts.fact import Fact, Facts

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "conformance.md"
ROWS: list[dict[str, Any]] = json.loads((HERE / "facts.json").read_text())
MODULES = sorted((HERE / "facts").glob("test_*.py"))


def module_of(path: Path) -> ModuleType:
    """A module of facts, imported as a sibling of `facts/fact.py`."""
    package = Facts.__module__.rpartition(".")[0]
    name = f"{package}.{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def facts_of(path: Path) -> list[Fact]:
    families = [each for each in vars(module_of(path)).values() if isinstance(each, Facts)]
    return [fact for family in families for fact in family.all]


def names_in(path: Path) -> set[str]:
    """The tests of a file, parametrised facts with their names."""
    tree = ast.parse(path.read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    if path in MODULES:
        names |= {f"test_fact[{fact.name}]" for fact in facts_of(path)}
    return names


@pytest.mark.parametrize("row", ROWS, ids=[row["fact"] for row in ROWS])
def test_the_tests_that_a_fact_names_exist(row: dict[str, Any]) -> None:
    assert row["statement"].endswith(".") and row["source"] and row["tests"]
    for node in row["tests"]:
        path, _, name = node.partition("::")
        assert name in names_in(HERE / path), f"{row['fact']}: there is no {node}"


def test_each_fact_is_listed_once() -> None:
    names = [row["fact"] for row in ROWS]
    assert names == sorted(set(names))


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_each_fact_of_a_module_has_a_source_and_a_name_of_its_own(path: Path) -> None:
    facts = facts_of(path)
    assert facts and all(" " in fact.source for fact in facts)
    names = [fact.name for fact in facts]
    assert sorted(names) == sorted(set(names))
    tested = module_of(path).test_fact.pytestmark[0].args[1]
    assert {fact.name for fact in tested} == set(names), "a family is not in as_tests()"


def page_rows() -> list[str]:
    """Module, source, how many facts, what they say."""
    rows = []
    for path in MODULES:
        facts = facts_of(path)
        for source in dict.fromkeys(fact.source for fact in facts):
            own = [fact for fact in facts if fact.source == source]
            said = "; ".join(dict.fromkeys(fact.statement for fact in own))
            rows.append(f"| {path.stem[5:]} | {source} | {len(own)} | {said} |")
    return rows


def test_the_page_lists_every_family() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    wanted = page_rows()
    missing = "\n".join(row for row in wanted if row not in rows)
    assert rows == wanted, f"docs/conformance.md; rows missing there:\n{missing}"
