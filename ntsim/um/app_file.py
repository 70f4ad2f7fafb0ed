"""An app file: executed as `__main__` with its own modules, `sys`, print and input."""

from __future__ import annotations

import builtins
import importlib.util
import io
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from ntsim.errors import ConfigurationError
from ntsim.host.modules import PrivateModules, SourceError, all_codes
from ntsim.host.points import POINT, SPLIT
from ntsim.host.python import IMAGE_MARK

if TYPE_CHECKING:
    from ntsim.um.process import UserProcess

_LIBRARY = ("argparse", "contextlib")
"""Library modules that read or replace attributes of `sys`: an app gets its own copy."""


class FileProgram:
    """A .py file as an app; `args` are `sys.argv[1:]`."""

    def __init__(self, path: Path, args: tuple[Any, ...]) -> None:
        self.path, self.args = path.resolve(), tuple(str(a) for a in args)
        self.name = f"{path.stem}.exe"
        try:
            self.modules = AppModules(self.path)
        except SourceError as error:
            raise ConfigurationError(str(error)) from error
        self.codes: list[CodeType] = [
            code for compiled in self.modules.codes for code in all_codes(compiled)
        ]

    def run(self, process: UserProcess) -> Any:
        """Execute the file. Its module-level code has no result: the exit code is 0."""
        self.modules.connect(process, [str(self.path), *self.args])
        self.modules.run(self.path, "__main__")

    def adopt(self, process: UserProcess) -> None:
        """Let stacks and events name the file's functions and lines."""
        files = process.nt.host.files
        files[str(self.path)] = self.path.name
        image = process.image
        image.path = str(self.path)
        for code in self.codes:
            name = code.co_qualname.replace(".<locals>", "")
            image.slot_of(code, "__main__" if name == "<module>" else name)

    def disown(self, process: UserProcess) -> None:
        """Files keep their names: another run of the app has the same."""


class AppModules(PrivateModules):
    """The modules of one run of an app. The main file is compiled before the process exists."""

    def __init__(self, main: Path) -> None:
        super().__init__(main, no_point, no_split, {})
        self.compiled = self.compile(main)
        self.main = main
        self.process: UserProcess
        self.sys: ModuleType

    def connect(self, process: UserProcess, argv: list[str]) -> None:
        """Before running: the process whose code this is."""
        self.process = process
        self.marks[IMAGE_MARK] = process.image
        self.sys = private_sys(process, argv, self.modules)
        self.builtins.update(
            {
                POINT: process.point,
                SPLIT: process.split,
                "print": printer(self.sys),
                "input": refuse_input,
                "exit": self.sys.exit,
                "quit": self.sys.exit,
            }
        )

    def compile(self, path: Path) -> CodeType:
        """The main file's code is there already; other files also get their names on stacks."""
        if getattr(self, "compiled", None) is not None and path == self.main:
            return self.compiled
        code = super().compile(path)
        if hasattr(self, "process"):
            self.process.nt.host.files[str(path)] = path.name
        return code

    def import_module(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> Any:
        """`sys` and what depends on it are the app's own."""
        if name == "sys" and not level:
            return self.sys
        if name in _LIBRARY and not level and self.find(name) is None:
            return self.library(name)
        return super().import_module(name, globals, locals, fromlist, level)

    def library(self, name: str) -> ModuleType:
        """A private copy of a library module."""
        found = self.modules.get(name)
        if found is None:
            found = self.modules[name] = ModuleType(name)
            space = found.__dict__
            space["__builtins__"] = {**vars(builtins), "__import__": self.library_import}
            exec(library_code(name), space)
        return found

    def library_import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> Any:
        """`__import__` of a private library module: only `sys` differs."""
        if name == "sys":
            return self.sys
        return builtins.__import__(name, globals, locals, fromlist, level)


def no_point() -> None:
    """Nothing runs before there is a process."""


def no_split(value: Any) -> Any:
    return value


@cache
def library_code(name: str) -> CodeType:
    """The code of a library module."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, name
    code: CodeType = compile(Path(spec.origin).read_bytes(), spec.origin, "exec")
    return code


def private_sys(process: UserProcess, argv: list[str], modules: dict[str, Any]) -> ModuleType:
    """A `sys` whose argv, streams and modules belong to one process."""
    made = ModuleType("sys", sys.__doc__)
    made.__dict__.update(vars(sys))
    made.__dict__.update(
        {
            "argv": argv,
            "stdin": io.StringIO(),
            "stdout": process.out,
            "stderr": process.err,
            "modules": ChainMap(modules, sys.modules),
        }
    )
    return made


def printer(private: ModuleType) -> Callable[..., None]:
    """`print` to the app's own sys.stdout."""

    def print(*values: object, file: Any = None, **options: Any) -> None:
        target = private.__dict__["stdout"] if file is None else file
        builtins.print(*values, file=target, **options)

    return print


def refuse_input(prompt: object = "") -> str:
    """`input` has nobody to ask."""
    raise EOFError(
        "a simulated process has no keyboard: pass values as arguments, m.run(app, args=(...)) or "
        "'ntsim run ... -- arguments'"
    )
