"""Scheduling points inserted into a driver's or an app's source.

At function entry, at the start of every loop iteration (of a comprehension too), and between load
and store of `x.f op= v`, so that a Python driver can be interrupted where a compiled one could.
Line numbers stay as they are.
"""

from __future__ import annotations

import ast

POINT = "__ntsim_point__"
SPLIT = "__ntsim_split__"
HELD = "__ntsim_held__"


class _Inserter(ast.NodeTransformer):
    """Rewrites one module."""

    def _point(self, node: ast.AST) -> ast.stmt:
        call = ast.Call(ast.Name(POINT, ast.Load()), [], [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), node))

    def _function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        first = 1 if ast.get_docstring(node, clean=False) is not None else 0
        node.body.insert(first, self._point(node))
        return node

    visit_FunctionDef = _function

    def _loop(self, node: ast.For | ast.While) -> ast.For | ast.While:
        self.generic_visit(node)
        node.body.insert(0, self._point(node))
        return node

    visit_For = _loop
    visit_While = _loop

    def visit_comprehension(self, node: ast.comprehension) -> ast.comprehension:
        """`for x in y` becomes `for x in y if not point()`: a point has no result."""
        self.generic_visit(node)
        call = ast.Call(ast.Name(POINT, ast.Load()), [], [])
        test = ast.copy_location(ast.UnaryOp(ast.Not(), call), node.target)
        node.ifs.insert(0, ast.fix_missing_locations(test))
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt] | ast.AugAssign:
        """`x.f op= v` becomes `held = x; held.f = split(held.f) op v`."""
        self.generic_visit(node)
        target = node.target
        if isinstance(target, ast.Name):
            return node
        made: list[ast.stmt] = [self._hold(HELD, target.value)]
        load: ast.expr
        store: ast.expr
        if isinstance(target, ast.Attribute):
            load = ast.Attribute(ast.Name(HELD, ast.Load()), target.attr, ast.Load())
            store = ast.Attribute(ast.Name(HELD, ast.Load()), target.attr, ast.Store())
        else:
            made.append(self._hold(HELD + "i", target.slice))
            index = ast.Name(HELD + "i", ast.Load())
            load = ast.Subscript(ast.Name(HELD, ast.Load()), index, ast.Load())
            store = ast.Subscript(ast.Name(HELD, ast.Load()), index, ast.Store())
        old = ast.Call(ast.Name(SPLIT, ast.Load()), [load], [])
        made.append(ast.Assign([store], ast.BinOp(old, node.op, node.value)))
        return [ast.fix_missing_locations(ast.copy_location(each, node)) for each in made]

    @staticmethod
    def _hold(name: str, value: ast.expr) -> ast.stmt:
        return ast.Assign([ast.Name(name, ast.Store())], value)


def insert_points(tree: ast.Module) -> ast.Module:
    """The module with its points; its builtins must hold the two functions they call."""
    made = _Inserter().visit(tree)
    assert isinstance(made, ast.Module)
    return made
