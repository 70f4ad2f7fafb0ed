"""Splay trees in memory: RTL_SPLAY_LINKS, whose root is its own parent.

A node that is looked for is rotated up to the root, two levels at a time. Source: WDK RtlSplay,
"Splay trees"; Sleator and Tarjan, "Self-adjusting binary search trees" (1985).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

PARENT, LEFT, RIGHT = 0, 8, 16
"""Offsets in RTL_SPLAY_LINKS."""


def initialize(nt: Kernel, node: int) -> None:
    """A tree of one node."""
    nt.write_pointer(node + PARENT, node)
    nt.write_pointer(node + LEFT, 0)
    nt.write_pointer(node + RIGHT, 0)


def attach(nt: Kernel, parent: int, side: int, child: int) -> None:
    """Make `child` (0: nothing) the left or right child of `parent`."""
    nt.write_pointer(parent + side, child)
    if child:
        nt.write_pointer(child + PARENT, parent)


def side_of(nt: Kernel, node: int) -> int:
    """Which child of its parent a node is."""
    parent = nt.read_pointer(node + PARENT)
    return LEFT if nt.read_pointer(parent + LEFT) == node else RIGHT


def rotate(nt: Kernel, node: int) -> None:
    """Put a node in the place of its parent, which becomes its child."""
    parent = nt.read_pointer(node + PARENT)
    above = nt.read_pointer(parent + PARENT)
    side = side_of(nt, node)
    other = LEFT + RIGHT - side
    place = side_of(nt, parent) if above != parent else 0
    attach(nt, parent, side, nt.read_pointer(node + other))
    attach(nt, node, other, parent)
    if above == parent:
        nt.write_pointer(node + PARENT, node)
    else:
        attach(nt, above, place, node)


def splay(nt: Kernel, node: int) -> int:
    """Rotate a node up to the root; the new root."""
    while (parent := nt.read_pointer(node + PARENT)) != node:
        if nt.read_pointer(parent + PARENT) == parent:
            rotate(nt, node)
        elif side_of(nt, node) == side_of(nt, parent):
            rotate(nt, parent)
            rotate(nt, node)
        else:
            rotate(nt, node)
            rotate(nt, node)
    return node


def delete(nt: Kernel, node: int) -> int:
    """Take a node out; the new root, 0 if the tree is empty."""
    splay(nt, node)
    left, right = nt.read_pointer(node + LEFT), nt.read_pointer(node + RIGHT)
    for child in (left, right):
        if child:
            nt.write_pointer(child + PARENT, child)
    if not left:
        return right
    root = splay(nt, end_of(nt, left, RIGHT))
    attach(nt, root, RIGHT, right)
    return root


def end_of(nt: Kernel, node: int, side: int) -> int:
    """The last node in one direction."""
    while following := nt.read_pointer(node + side):
        node = following
    return node


def successor(nt: Kernel, node: int) -> int:
    """The next node in order, 0 after the last."""
    right = nt.read_pointer(node + RIGHT)
    if right:
        return end_of(nt, right, LEFT)
    while (parent := nt.read_pointer(node + PARENT)) != node:
        if side_of(nt, node) == LEFT:
            return parent
        node = parent
    return 0
