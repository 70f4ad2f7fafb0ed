"""Private modules: a driver's or app's source, executed afresh for every load.

The file's own folder and that folder's parent are importable while it runs; what is found there is
private to the load as well. Everything else is imported as usual, except modules that would break
"same seed, same run" or reach around the simulation: those raise an error that names what to use.
"""

from __future__ import annotations

import ast
import builtins
import dis
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import RLock
from types import CodeType, ModuleType
from typing import Any

from ntsim.host.library import Library, private_sys
from ntsim.host.points import POINT, SPLIT, insert_points

REFUSED = {
    "threading": "CreateThread (an app) or PsCreateSystemThread (a driver)",
    "_thread": "CreateThread (an app) or PsCreateSystemThread (a driver)",
    "multiprocessing": "m.start(app) for a second process",
    "subprocess": "m.start(app) for a second process",
    "asyncio": "overlapped calls and WaitForMultipleObjects",
    "random": "values from the command line or a generator of your own with a fixed seed",
    "secrets": "values from the command line or a generator of your own with a fixed seed",
    "socket": "a device and DeviceIoControl",
    "time": "Sleep and GetTickCount (an app), KeDelayExecutionThread and KeQuerySystemTime "
    "(a driver)",
}


class SourceError(Exception):
    """A file that cannot become a module: where, and why."""

    def __init__(self, message: str, file: str, line: int) -> None:
        super().__init__(message)
        self.message, self.file, self.line = message, file, line

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class RefusedImport(ImportError):
    """The mistake of the driver or app that imports, not ntsim's."""

    ntsim_caller_error = True


SHARED = ("driver", "userapp")
"""Folders whose sub-folders import as their own files do: `from driver.vmcs import ...`."""


class PrivateModules:
    """The modules of one load. `marks` are put into every module's globals."""

    def __init__(
        self,
        main: Path,
        point: Callable[[], None],
        split: Callable[[Any], Any],
        marks: Mapping[str, Any],
    ) -> None:
        self.roots = [main.parent, main.parent.parent]
        if main.parent.parent.name in SHARED:
            self.roots.append(main.parent.parent.parent)
        self.modules: dict[str, ModuleType] = {}
        self.files: list[str] = []
        self.codes: list[CodeType] = []
        self.marks = dict(marks)
        names = dict(vars(builtins))
        names.update({POINT: point, SPLIT: split, "__import__": self.import_module})
        self.builtins = names
        self.library = Library(("dataclasses",), private_sys(self.modules))

    def run(self, path: Path, name: str) -> ModuleType:
        """Execute the file at `path` as module `name`; SourceError if it does not parse."""
        module = ModuleType(name)
        self.modules[name] = module
        code = self.compile(path)
        space = module.__dict__
        space.update(self.marks)
        space.update({"__file__": str(path), "__builtins__": self.builtins})
        exec(code, space)
        return module

    def compile(self, path: Path) -> CodeType:
        """The file's code with scheduling points; annotations stay text."""
        try:
            source = path.read_bytes()
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror}", str(path), 0) from None
        with _PARSER:
            code = _compile_with_points(source, path)
        self.files.append(str(path))
        self.codes.append(code)
        return code

    def import_module(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> Any:
        """`__import__` of a private module."""
        if level:
            raise RefusedImport(
                f"relative import of {name or '.'!r}: write 'from folder.module import ...'; the "
                "file's own folder and its parent are importable"
            )
        top = name.partition(".")[0]
        if (use := REFUSED.get(top)) is not None:
            raise RefusedImport(f"{top} works outside the simulated machine; use {use}")
        if top != "ntsim" and self.find(top) is not None:
            return self._import_private(name, fromlist)
        if name in self.library.names:
            return self.library.load(name)
        return builtins.__import__(name, globals, locals, fromlist, 0)

    def find(self, dotted: str) -> Path | None:
        """The file or folder of a dotted name below a root."""
        relative = Path(*dotted.split("."))
        for root in self.roots:
            if (file := root / relative.with_suffix(".py")).is_file():
                return file
            if (folder := root / relative).is_dir() and any(folder.glob("*.py")):
                return folder
        return None

    def _import_private(self, name: str, fromlist: tuple[str, ...] | None) -> ModuleType:
        parts = name.split(".")
        loaded: ModuleType | None = None
        for depth in range(1, len(parts) + 1):
            dotted = ".".join(parts[:depth])
            module = self._load(dotted)
            if loaded is not None:
                setattr(loaded, parts[depth - 1], module)
            loaded = module
        assert loaded is not None
        if fromlist:
            for item in fromlist:
                if not hasattr(loaded, item) and self.find(f"{name}.{item}") is not None:
                    setattr(loaded, item, self._load(f"{name}.{item}"))
            return loaded
        return self.modules[parts[0]]

    def _load(self, dotted: str) -> ModuleType:
        found = self.modules.get(dotted)
        if found is not None:
            return found
        path = self.find(dotted)
        if path is None:
            raise ModuleNotFoundError(f"No module named {dotted!r}", name=dotted)
        if path.is_dir():
            if (init := path / "__init__.py").is_file():
                return self.run(init, dotted)
            self.modules[dotted] = made = ModuleType(dotted)
            return made
        return self.run(path, dotted)

    def unknown_names(self) -> Iterator[tuple[str, str, int]]:
        """(name, file, line) of every global that code uses and nothing defines."""
        for code in self.codes:
            module = next(
                (
                    m
                    for m in self.modules.values()
                    if m.__dict__.get("__file__") == code.co_filename
                ),
                None,
            )
            if module is None:
                continue
            known = set(module.__dict__) | set(self.builtins) | set(_stored_globals(code))
            yield from _missing(code, known)


_PARSER = RLock()
"""CPython counts the depth of syntax trees once for all threads of the host."""


def _compile_with_points(source: bytes, path: Path) -> CodeType:
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", 0) or 0
        raise SourceError(f"{getattr(error, 'msg', error)}", str(path), line) from None
    flags = 0x100_0000  # CO_FUTURE_ANNOTATIONS
    made: CodeType = compile(insert_points(tree), str(path), "exec", flags, dont_inherit=True)
    return made


def all_codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and every one nested in it, in source order."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_codes(constant)


def _stored_globals(code: CodeType) -> Iterator[str]:
    for each in all_codes(code):
        for instruction in dis.get_instructions(each):
            if instruction.opname == "STORE_GLOBAL":
                yield str(instruction.argval)


def _missing(code: CodeType, known: set[str]) -> Iterator[tuple[str, str, int]]:
    for each in all_codes(code):
        line = each.co_firstlineno
        for instruction in dis.get_instructions(each):
            position = instruction.positions
            line = (position.lineno if position else None) or line
            if instruction.opname == "LOAD_GLOBAL" and instruction.argval not in known:
                yield str(instruction.argval), each.co_filename, line
