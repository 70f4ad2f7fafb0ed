"""Library modules that look into `sys`: each load of a driver or app has copies of its own.

`dataclasses` looks its caller's module up in `sys.modules`, where private modules are not;
`argparse` reads `sys.argv`, `contextlib` replaces `sys.stdout`.
"""

from __future__ import annotations

import builtins
import importlib.util
import sys
from collections import ChainMap
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


class Library:
    """The copies of one load. `names` says of which modules; `system` is the `sys` they see."""

    def __init__(self, names: tuple[str, ...], system: ModuleType) -> None:
        self.names, self.system = names, system
        self.loaded: dict[str, ModuleType] = {}

    def load(self, name: str) -> ModuleType:
        """The copy of a module, made at its first import."""
        found = self.loaded.get(name)
        if found is None:
            found = self.loaded[name] = ModuleType(name)
            space = found.__dict__
            space["__builtins__"] = {**vars(builtins), "__import__": self._import}
            exec(_code(name), space)
        return found

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> Any:
        """`__import__` of a copy: only `sys` differs."""
        if name == "sys":
            return self.system
        return builtins.__import__(name, globals, locals, fromlist, level)


@cache
def _code(name: str) -> CodeType:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None, name
    code: CodeType = compile(Path(spec.origin).read_bytes(), spec.origin, "exec")
    return code


def private_sys(modules: dict[str, Any], **own: Any) -> ModuleType:
    """A `sys` that knows the modules of one load as well; `own` replaces further attributes."""
    made = ModuleType("sys", sys.__doc__)
    made.__dict__.update(vars(sys))
    made.__dict__.update(own)
    made.__dict__["modules"] = ChainMap(modules, sys.modules)
    return made
