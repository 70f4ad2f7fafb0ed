"""AVL trees of RTL_BALANCED_NODEs, as bytes: what VadRoot and the like point at.

A node is three words: left child, right child, parent. The parent's two low bits are the node's
balance: 0, 1 where the right side is deeper, 3 where the left is. The root is a word that points at
the top node. Source: Windows 10 19041 symbols (RTL_BALANCED_NODE, RTL_AVL_TREE); the rotations are
Knuth's (The Art of Computer Programming 3, 6.2.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

LEFT, RIGHT, PARENT = 0, 8, 16
BALANCE = 3
_EVEN, _RIGHT_HEAVY, _LEFT_HEAVY = 0, 1, 3


class Words(Protocol):
    """Memory of 64-bit words."""

    def read_word(self, va: int, /) -> int: ...

    def write_word(self, va: int, value: int, /) -> None: ...


class BalancedTree:
    """The tree whose root pointer lies at `root`."""

    __slots__ = ("memory", "root")

    def __init__(self, memory: Words, root: int) -> None:
        self.memory, self.root = memory, root

    def child(self, node: int, side: int) -> int:
        """The child at `side`, LEFT or RIGHT; 0 if there is none."""
        return self.memory.read_word(node + side)

    def top(self) -> int:
        return self.memory.read_word(self.root)

    def in_order(self) -> Iterator[int]:
        """Every node, leftmost first."""
        path: list[int] = []
        node = self.top()
        while node or path:
            while node:
                path.append(node)
                node = self.child(node, LEFT)
            node = path.pop()
            yield node
            node = self.child(node, RIGHT)

    def insert(self, parent: int, side: int, node: int) -> None:
        """Link `node` where `parent` (0: the tree is empty) has no child, and balance."""
        write = self.memory.write_word
        write(node + LEFT, 0)
        write(node + RIGHT, 0)
        write(node + PARENT, parent)
        write(parent + side if parent else self.root, node)
        while parent:
            leaning = _LEFT_HEAVY if side == LEFT else _RIGHT_HEAVY
            balance = self._balance(parent)
            if balance == _EVEN:
                self._set_balance(parent, leaning)
                node, parent = parent, self._parent(parent)
                side = LEFT if parent and self.child(parent, LEFT) == node else RIGHT
                continue
            if balance != leaning:
                self._set_balance(parent, _EVEN)
            else:
                self._rebalance(parent, side)
            return

    def remove(self, node: int) -> None:
        """Take `node` out, and balance."""
        if self.child(node, LEFT) and self.child(node, RIGHT):
            self._swap_with_next(node)
        below = self.child(node, LEFT) or self.child(node, RIGHT)
        parent = self._parent(node)
        side = LEFT if parent and self.child(parent, LEFT) == node else RIGHT
        self._replace(parent, node, below)
        while parent:
            leaning = _LEFT_HEAVY if side == LEFT else _RIGHT_HEAVY
            balance = self._balance(parent)
            if balance == _EVEN:
                self._set_balance(parent, _LEFT_HEAVY if side == RIGHT else _RIGHT_HEAVY)
                return
            if balance == leaning:
                self._set_balance(parent, _EVEN)
                top = parent
            else:
                top = self._rebalance(parent, LEFT if side == RIGHT else RIGHT)
                if self._balance(top) != _EVEN:
                    return
            parent = self._parent(top)
            side = LEFT if parent and self.child(parent, LEFT) == top else RIGHT

    # Links

    def _parent(self, node: int) -> int:
        return self.memory.read_word(node + PARENT) & ~BALANCE

    def _set_parent(self, node: int, parent: int) -> None:
        self.memory.write_word(node + PARENT, parent | self._balance(node))

    def _balance(self, node: int) -> int:
        return self.memory.read_word(node + PARENT) & BALANCE

    def _set_balance(self, node: int, balance: int) -> None:
        self.memory.write_word(node + PARENT, self._parent(node) | balance)

    def _set_child(self, node: int, side: int, child: int) -> None:
        self.memory.write_word(node + side, child)
        if child:
            self._set_parent(child, node)

    def _replace(self, parent: int, old: int, new: int) -> None:
        """Let `new` (0: nothing) hang where `old` hangs."""
        if not parent:
            self.memory.write_word(self.root, new)
        else:
            side = LEFT if self.child(parent, LEFT) == old else RIGHT
            self.memory.write_word(parent + side, new)
        if new:
            self._set_parent(new, parent)

    def _swap_with_next(self, node: int) -> None:
        """Exchange the places of `node` and the leftmost node of its right side."""
        following = self.child(node, RIGHT)
        while self.child(following, LEFT):
            following = self.child(following, LEFT)
        parent, above = self._parent(node), self._parent(following)
        balance, other = self._balance(node), self._balance(following)
        left, right = self.child(node, LEFT), self.child(node, RIGHT)
        below = self.child(following, RIGHT)
        self._replace(parent, node, following)
        self._set_child(following, LEFT, left)
        if above == node:
            self._set_child(following, RIGHT, node)
        else:
            self._set_child(following, RIGHT, right)
            self._set_child(above, LEFT, node)
        self.memory.write_word(node + LEFT, 0)
        self._set_child(node, RIGHT, below)
        self._set_balance(node, other)
        self._set_balance(following, balance)

    # Rotations

    def _rebalance(self, node: int, side: int) -> int:
        """`node` is two deeper at `side`: rotate; the new top of this part."""
        other = RIGHT if side == LEFT else LEFT
        leaning = _LEFT_HEAVY if side == LEFT else _RIGHT_HEAVY
        opposite = _RIGHT_HEAVY if side == LEFT else _LEFT_HEAVY
        heavy = self.child(node, side)
        if self._balance(heavy) != opposite:
            was_even = self._balance(heavy) == _EVEN
            self._rotate(node, heavy, side, other)
            self._set_balance(node, leaning if was_even else _EVEN)
            self._set_balance(heavy, opposite if was_even else _EVEN)
            return heavy
        middle = self.child(heavy, other)
        balance = self._balance(middle)
        self._rotate(heavy, middle, other, side)
        self._rotate(node, middle, side, other)
        self._set_balance(node, opposite if balance == leaning else _EVEN)
        self._set_balance(heavy, leaning if balance == opposite else _EVEN)
        self._set_balance(middle, _EVEN)
        return middle

    def _rotate(self, node: int, child: int, side: int, other: int) -> None:
        """Lift `child`, which hangs at `side` of `node`, above it."""
        self._replace(self._parent(node), node, child)
        self._set_child(node, side, self.child(child, other))
        self._set_child(child, other, node)
