"""AVL trees of RTL_BALANCED_LINKS below the BalancedRoot of an RTL_AVL_TABLE, as bytes.

The tree hangs on the right of BalancedRoot. A node's Balance is the depth of its right side less
that of its left. Source: ntddk.h; the algorithm is Knuth's (The Art of Computer Programming 3,
6.2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

DEEPEST = 128
"""More steps than any tree of 64-bit addresses has levels."""

PARENT, LEFT, RIGHT, BALANCE = 0x00, 0x08, 0x10, 0x18


class AvlTree:
    """The tree whose BalancedRoot lies at `root`."""

    def __init__(self, nt: Kernel, root: int) -> None:
        self.nt, self.root = nt, root
        self.get, self.put = nt.read_pointer, nt.mmu.write_word

    def top(self) -> int:
        return self.get(self.root + RIGHT)

    def balance(self, node: int) -> int:
        return int.from_bytes(self.nt.mmu.read(node + BALANCE, 1), "little", signed=True)

    def set_balance(self, node: int, value: int) -> None:
        self.nt.mmu.write(node + BALANCE, value.to_bytes(1, "little", signed=True))

    def side(self, node: int) -> int:
        """Which child of its parent a node is."""
        return LEFT if self.get(self.get(node + PARENT) + LEFT) == node else RIGHT

    def hang(self, parent: int, side: int, node: int) -> None:
        """Make `node`, which may be none, the child of `parent`."""
        self.put(parent + side, node)
        if node:
            self.put(node + PARENT, parent)

    def end(self, node: int, side: int) -> int:
        """The last node towards `side`; 0 of no tree. Links that go round are followed for ever."""
        for _ in range(DEEPEST):
            below = node and self.get(node + side)
            if not below:
                return node
            node = below
        self.nt.loop_for_ever()

    def neighbour(self, node: int, side: int) -> int:
        """The next node in order (RIGHT) or the one before (LEFT); 0 at the end."""
        other = LEFT + RIGHT - side
        if below := self.get(node + side):
            return self.end(below, other)
        for _ in range(DEEPEST):
            if node == self.root:
                return 0
            above = self.get(node + PARENT)
            if above != self.root and self.get(above + other) == node:
                return above
            node = above
        self.nt.loop_for_ever()

    def insert(self, parent: int, side: int, node: int) -> bool:
        """Link a new node where `parent` has no child; True if the tree grew deeper."""
        self.nt.mmu.write(node, bytes(0x20))
        self.hang(parent, side, node)
        while parent != self.root:
            change = 1 if self.side(node) == RIGHT else -1
            balance = self.balance(parent)
            if balance == -change:
                self.set_balance(parent, 0)
                return False
            if balance == change:
                self.rotate(parent, change)
                return False
            self.set_balance(parent, change)
            node, parent = parent, self.get(parent + PARENT)
        return True

    def remove(self, node: int) -> bool:
        """Unlink a node; True if the tree became less deep."""
        if self.get(node + LEFT) and self.get(node + RIGHT):
            self.exchange(node, self.end(self.get(node + RIGHT), LEFT))
        child = self.get(node + LEFT) or self.get(node + RIGHT)
        parent, side = self.get(node + PARENT), self.side(node)
        self.hang(parent, side, child)
        while parent != self.root:
            change = -1 if side == RIGHT else 1
            above, side_above = self.get(parent + PARENT), self.side(parent)
            balance = self.balance(parent)
            if balance == 0:
                self.set_balance(parent, change)
                return False
            if balance == -change:
                self.set_balance(parent, 0)
            elif not self.rotate(parent, change):
                return False
            parent, side = above, side_above
        return True

    def exchange(self, node: int, following: int) -> None:
        """Let `node` and its successor, which is below it, change places."""
        parent, side = self.get(node + PARENT), self.side(node)
        left, right = self.get(node + LEFT), self.get(node + RIGHT)
        below, above = self.get(following + RIGHT), self.get(following + PARENT)
        balance = self.balance(node)
        self.set_balance(node, self.balance(following))
        self.set_balance(following, balance)
        self.hang(parent, side, following)
        self.hang(following, LEFT, left)
        if above == node:
            self.hang(following, RIGHT, node)
        else:
            self.hang(following, RIGHT, right)
            self.hang(above, LEFT, node)
        self.hang(node, LEFT, 0)
        self.hang(node, RIGHT, below)

    def rotate(self, node: int, heavy: int) -> bool:
        """Mend a node two deeper on one side (`heavy`: 1 right, -1 left); True if it became less
        deep than it was before the change."""
        near, far = (RIGHT, LEFT) if heavy == 1 else (LEFT, RIGHT)
        parent, side = self.get(node + PARENT), self.side(node)
        child = self.get(node + near)
        balance = self.balance(child)
        if balance == -heavy:
            inner = self.get(child + far)
            lean = self.balance(inner)
            self.hang(child, far, self.get(inner + near))
            self.hang(node, near, self.get(inner + far))
            self.hang(inner, near, child)
            self.hang(inner, far, node)
            self.hang(parent, side, inner)
            self.set_balance(node, -heavy if lean == heavy else 0)
            self.set_balance(child, heavy if lean == -heavy else 0)
            self.set_balance(inner, 0)
            return True
        self.hang(node, near, self.get(child + far))
        self.hang(child, far, node)
        self.hang(parent, side, child)
        self.set_balance(node, heavy if balance == 0 else 0)
        self.set_balance(child, -heavy if balance == 0 else 0)
        return balance != 0
