"""AVL generic tables: RTL_AVL_TABLE, which lookups do not change.

An element is the tree's links and the caller's data, in memory that the table's Allocate routine
gives. Readers may share a lock. Source: WDK RtlInitializeGenericTableAvl and its family; ntddk.h
for the table; ReactOS lib/rtl/avltable.c for what a deletion does to an enumeration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi import wdm_constants as c
from ntsim.abi.rtl import RTL_AVL_TABLE, RTL_BALANCED_LINKS
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl.avl import LEFT, RIGHT, AvlTree

if TYPE_CHECKING:
    from ntsim.abi.rtl import PRTL_AVL_TABLE
    from ntsim.nt.kernel import Kernel

DATA = RTL_BALANCED_LINKS.size


def tree_of(nt: Kernel, table: PRTL_AVL_TABLE) -> AvlTree:
    return AvlTree(nt, int(table))


def find(nt: Kernel, table: PRTL_AVL_TABLE, buffer: int) -> tuple[int, int]:
    """(TABLE_SEARCH_RESULT, the element or the one it would hang below)."""
    node, compare = tree_of(nt, table).top(), table._v.CompareRoutine
    result = c.TableEmptyTree
    while node:
        order = nt.call(compare, table, buffer, node + DATA) & 0xFFFF_FFFF
        if order not in (c.GenericLessThan, c.GenericGreaterThan):
            return c.TableFoundNode, node
        less = order == c.GenericLessThan
        result = c.TableInsertAsLeft if less else c.TableInsertAsRight
        following = nt.read_pointer(node + (LEFT if less else RIGHT))
        if not following:
            break
        node = following
    return result, node


@export(irql="<= DISPATCH")
def RtlInitializeGenericTableAvl(
    nt: Kernel,
    Table: PRTL_AVL_TABLE,
    CompareRoutine: PVOID,
    AllocateRoutine: PVOID,
    FreeRoutine: PVOID,
    TableContext: PVOID,
) -> None:
    """An empty table. Source: WDK RtlInitializeGenericTableAvl."""
    nt.mmu.write(int(Table), bytes(RTL_AVL_TABLE.size))
    v = Table._v
    v.BalancedRoot_Parent = int(Table)
    v.CompareRoutine, v.AllocateRoutine = CompareRoutine, AllocateRoutine
    v.FreeRoutine, v.TableContext = FreeRoutine, TableContext


@export(irql="<= APC")
def RtlInsertElementGenericTableAvl(
    nt: Kernel,
    Table: PRTL_AVL_TABLE,
    Buffer: PVOID,
    BufferSize: ULONG,
    NewElement: OutOpt[BOOLEAN],
) -> PVOID:
    """The element equal to Buffer, inserted as a copy if there is none; NULL without memory.

    *NewElement says whether it was inserted. Source: WDK RtlInsertElementGenericTableAvl.
    """
    result, node = find(nt, Table, Buffer)
    return RtlInsertElementGenericTableFullAvl(
        nt, Table, Buffer, BufferSize, NewElement, node, result
    )


@export(irql="<= APC")
def RtlInsertElementGenericTableFullAvl(
    nt: Kernel,
    Table: PRTL_AVL_TABLE,
    Buffer: PVOID,
    BufferSize: ULONG,
    NewElement: OutOpt[BOOLEAN],
    NodeOrParent: PVOID,
    SearchResult: ULONG,
) -> PVOID:
    """RtlInsertElementGenericTableAvl with the outcome of a lookup at hand. Source: WDK."""
    v = Table._v
    node = NodeOrParent
    is_new = SearchResult != c.TableFoundNode
    if is_new:
        node = nt.call(v.AllocateRoutine, Table, BufferSize + DATA)
        if node:
            empty = SearchResult == c.TableEmptyTree
            side = LEFT if SearchResult == c.TableInsertAsLeft else RIGHT
            deeper = tree_of(nt, Table).insert(int(Table) if empty else NodeOrParent, side, node)
            v.DepthOfTree += deeper
            v.NumberGenericTableElements += 1
            v.OrderedPointer = v.WhichOrderedElement = 0
            nt.mmu.write(node + DATA, nt.mmu.read(Buffer, BufferSize))
    if NewElement:
        NewElement[0] = int(is_new and node != 0)
    return node + DATA if node else 0


@export(irql="<= APC")
def RtlLookupElementGenericTableAvl(nt: Kernel, Table: PRTL_AVL_TABLE, Buffer: PVOID) -> PVOID:
    """The element equal to Buffer, NULL if there is none. Source: WDK."""
    result, node = find(nt, Table, Buffer)
    return node + DATA if result == c.TableFoundNode else 0


@export(irql="<= APC")
def RtlLookupElementGenericTableFullAvl(
    nt: Kernel,
    Table: PRTL_AVL_TABLE,
    Buffer: PVOID,
    NodeOrParent: Out[PVOID],
    SearchResult: Out[ULONG],
) -> PVOID:
    """RtlLookupElementGenericTableAvl that tells where the element is or would be. Source: WDK."""
    SearchResult[0], NodeOrParent[0] = result, node = find(nt, Table, Buffer)
    return node + DATA if result == c.TableFoundNode else 0


@export(irql="<= APC")
def RtlLookupFirstMatchingElementGenericTableAvl(
    nt: Kernel, Table: PRTL_AVL_TABLE, Buffer: PVOID, RestartKey: Out[PVOID]
) -> PVOID:
    """The leftmost of the elements equal to Buffer, and the key to go on from; NULL if none.

    Source: WDK RtlLookupFirstMatchingElementGenericTableAvl.
    """
    result, node = find(nt, Table, Buffer)
    if result != c.TableFoundNode:
        return 0
    tree, compare = tree_of(nt, Table), Table._v.CompareRoutine
    while before := tree.neighbour(node, LEFT):
        if nt.call(compare, Table, Buffer, before + DATA) & 0xFFFF_FFFF != c.GenericEqual:
            break
        node = before
    RestartKey[0] = node
    return node + DATA


@export(irql="<= APC")
def RtlDeleteElementGenericTableAvl(nt: Kernel, Table: PRTL_AVL_TABLE, Buffer: PVOID) -> BOOLEAN:
    """Take out and free the element equal to Buffer; FALSE if there is none.

    An enumeration that stood at it goes on behind the one before. Source: WDK.
    """
    result, node = find(nt, Table, Buffer)
    if result == c.TableFoundNode:
        RtlDeleteElementGenericTableAvlEx(nt, Table, node)
    return result == c.TableFoundNode


@export(irql="<= APC")
def RtlDeleteElementGenericTableAvlEx(
    nt: Kernel, Table: PRTL_AVL_TABLE, NodeOrParent: PVOID
) -> None:
    """Take out and free an element that a lookup found. Source: ntddk.h."""
    v, tree = Table._v, tree_of(nt, Table)
    if v.RestartKey == NodeOrParent:
        v.RestartKey = tree.neighbour(NodeOrParent, LEFT)
    v.DeleteCount += 1
    v.DepthOfTree -= tree.remove(NodeOrParent)
    v.NumberGenericTableElements -= 1
    v.OrderedPointer = v.WhichOrderedElement = 0
    nt.call(v.FreeRoutine, Table, NodeOrParent)


@export(irql="<= APC")
def RtlGetElementGenericTableAvl(nt: Kernel, Table: PRTL_AVL_TABLE, I: ULONG) -> PVOID:  # noqa: E741
    """The I-th element in order, NULL past the last; its place is kept. Source: WDK."""
    v, tree = Table._v, tree_of(nt, Table)
    if v.NumberGenericTableElements <= I:
        return 0
    at, node = v.WhichOrderedElement - 1, v.OrderedPointer
    if at < 0:
        at, node = 0, tree.end(tree.top(), LEFT)
    while at != I:
        node = tree.neighbour(node, RIGHT if at < I else LEFT)
        at += 1 if at < I else -1
    v.WhichOrderedElement, v.OrderedPointer = I + 1, node
    return int(node + DATA)


@export(irql="<= APC")
def RtlEnumerateGenericTableAvl(nt: Kernel, Table: PRTL_AVL_TABLE, Restart: BOOLEAN) -> PVOID:
    """The first element in order, or the one behind the last one returned; NULL at the end.

    Source: WDK RtlEnumerateGenericTableAvl.
    """
    key = int(Table) + RTL_AVL_TABLE.offset_of("RestartKey")
    if Restart:
        nt.write_pointer(key, 0)
    return RtlEnumerateGenericTableWithoutSplayingAvl(nt, Table, key)


@export(irql="<= APC")
def RtlEnumerateGenericTableWithoutSplayingAvl(
    nt: Kernel, Table: PRTL_AVL_TABLE, RestartKey: PVOID
) -> PVOID:
    """The element behind *RestartKey (NULL: the first), which becomes *RestartKey. Source: WDK."""
    tree = tree_of(nt, Table)
    at = nt.read_pointer(RestartKey)
    node = tree.neighbour(at, RIGHT) if at else tree.end(tree.top(), LEFT)
    if not node:
        return 0
    nt.write_pointer(RestartKey, node)
    return node + DATA


@export(irql="<= APC")
def RtlEnumerateGenericTableLikeADirectory(
    nt: Kernel,
    Table: PRTL_AVL_TABLE,
    MatchFunction: PVOID,
    MatchData: PVOID,
    NextFlag: ULONG,
    RestartKey: PVOID,
    DeleteCount: PVOID,
    Buffer: PVOID,
) -> PVOID:
    """The next element that MatchFunction accepts, from *RestartKey, or Buffer if that is NULL.

    A deletion since *DeleteCount lets the search begin at Buffer's place again. MatchFunction
    answers STATUS_SUCCESS to take an element, STATUS_NO_MATCH to go on; anything else ends it.
    Source: WDK RtlEnumerateGenericTableLikeADirectory.
    """
    tree, v = tree_of(nt, Table), Table._v
    node, counted = (
        nt.read_pointer(RestartKey),
        int.from_bytes(nt.mmu.read(DeleteCount, 4), "little"),
    )
    if not node or counted != v.DeleteCount:
        result, node = find(nt, Table, Buffer)
        if (result == c.TableFoundNode and NextFlag) or result == c.TableInsertAsRight:
            node = tree.neighbour(node, RIGHT)
    elif NextFlag:
        node = tree.neighbour(node, RIGHT)
    nt.mmu.write(DeleteCount, v.DeleteCount.to_bytes(4, "little"))
    while node:
        answer = nt.call(MatchFunction, Table, node + DATA, MatchData) if MatchFunction else 0
        if answer & 0xFFFF_FFFF == ntstatus.STATUS_SUCCESS:
            nt.write_pointer(RestartKey, node)
            return node + DATA
        if answer & 0xFFFF_FFFF != ntstatus.STATUS_NO_MATCH:
            break
        node = tree.neighbour(node, RIGHT)
    return 0


@export(irql="<= APC")
def RtlNumberGenericTableElementsAvl(nt: Kernel, Table: PRTL_AVL_TABLE) -> ULONG:
    """How many elements the table has. Source: WDK RtlNumberGenericTableElementsAvl."""
    return int(Table._v.NumberGenericTableElements)


@export(irql="<= APC")
def RtlIsGenericTableEmptyAvl(nt: Kernel, Table: PRTL_AVL_TABLE) -> BOOLEAN:
    """TRUE if the table has no elements. Source: WDK RtlIsGenericTableEmptyAvl."""
    return not Table._v.NumberGenericTableElements
