"""AVL trees as bytes, against a sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from ntsim.nt.rtl.balanced_tree import BALANCE, LEFT, PARENT, RIGHT, BalancedTree

ROOT, FIRST = 0x8, 0x100


class Words(dict):
    """Memory of 64-bit words."""

    def read_word(self, va: int) -> int:
        return self.get(va, 0)

    write_word = dict.__setitem__


def node_of(key: int) -> int:
    return FIRST + 0x20 * key


def insert(tree: BalancedTree, key: int) -> None:
    parent, side, at = 0, LEFT, tree.top()
    while at:
        parent, side = at, LEFT if node_of(key) < at else RIGHT
        at = tree.child(at, side)
    tree.insert(parent, side, node_of(key))


def depth(tree: BalancedTree, node: int, parent: int = 0) -> int:
    """Levels below and with `node`; asserts balances and parents on the way."""
    if not node:
        return 0
    left = depth(tree, tree.child(node, LEFT), node)
    right = depth(tree, tree.child(node, RIGHT), node)
    assert right - left == {0: 0, 1: 1, 3: -1}[tree.memory.read_word(node + PARENT) & BALANCE]
    assert tree.memory.read_word(node + PARENT) & ~BALANCE == parent
    return max(left, right) + 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120))
def test_a_tree_holds_what_was_put_in_and_stays_balanced(steps: list[tuple[bool, int]]) -> None:
    tree, keys = BalancedTree(Words(), ROOT), set()
    for adding, key in steps:
        if adding and key not in keys:
            insert(tree, key)
            keys.add(key)
        elif not adding and key in keys:
            tree.remove(node_of(key))
            keys.remove(key)
        depth(tree, tree.top())
        assert list(tree.in_order()) == [node_of(each) for each in sorted(keys)]


def test_a_thousand_nodes_in_order_are_ten_deep() -> None:
    tree = BalancedTree(Words(), ROOT)
    for key in range(1000):
        insert(tree, key)
    assert depth(tree, tree.top()) == 10
