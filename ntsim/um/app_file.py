"""An app file: executed as `__main__` with its own modules, `sys`, print and input."""

from __future__ import annotations

import builtins
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from ntsim.errors import ConfigurationError
from ntsim.host.library import Library, private_sys
from ntsim.host.modules import PrivateModules, SourceError, all_codes
from ntsim.host.points import POINT, SPLIT
from ntsim.host.python import IMAGE_MARK

if TYPE_CHECKING:
    from ntsim.um.process import UserProcess

_LIBRARY = ("argparse", "contextlib", "dataclasses")
"""Library modules that read or replace attributes of `sys`: an app has copies."""


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
        self.sys = private_sys(
            self.modules, argv=argv, stdin=io.StringIO(), stdout=process.out, stderr=process.err
        )
        self.library = Library(_LIBRARY, self.sys)
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
        """`sys` is the app's own."""
        if name == "sys" and not level:
            return self.sys
        return super().import_module(name, globals, locals, fromlist, level)


def no_point() -> None:
    """Nothing runs before there is a process."""


def no_split(value: Any) -> Any:
    return value


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
