"""Generic tables: RTL_GENERIC_TABLE, a splay tree that also remembers the order of insertion.

An element is the tree's links, a list entry and the caller's data, in memory that the table's
Allocate routine gives. Lookups splay, so that even a reader must hold the caller's lock
exclusively. Source: WDK RtlInitializeGenericTable and its family; ReactOS lib/rtl/generictable.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi import wdm_constants as c
from ntsim.abi.rtl import RTL_GENERIC_TABLE
from ntsim.abi.scalars import BOOLEAN, PVOID, ULONG
from ntsim.nt.exports import Out, OutOpt, export
from ntsim.nt.rtl import lists, splay

if TYPE_CHECKING:
    from ntsim.abi.rtl import PRTL_GENERIC_TABLE
    from ntsim.nt.kernel import Kernel

ORDER, DATA = 0x18, 0x28
"""In an element, behind the splay links: the insertion-order entry, then the caller's data."""

LIST_HEAD = RTL_GENERIC_TABLE.offset_of("InsertOrderList")


def find(nt: Kernel, table: PRTL_GENERIC_TABLE, buffer: int) -> tuple[int, int]:
    """(TABLE_SEARCH_RESULT, the element or the one it would hang below)."""
    v = table._v
    node: int = v.TableRoot
    result = c.TableEmptyTree
    while node:
        order = nt.call(v.CompareRoutine, table, buffer, node + DATA) & 0xFFFF_FFFF
        if order not in (c.GenericLessThan, c.GenericGreaterThan):
            return c.TableFoundNode, node
        less = order == c.GenericLessThan
        result = c.TableInsertAsLeft if less else c.TableInsertAsRight
        following = nt.read_pointer(node + (splay.LEFT if less else splay.RIGHT))
        if not following:
            break
        node = following
    return result, node


def to_root(nt: Kernel, table: PRTL_GENERIC_TABLE, node: int) -> int:
    """Splay an element; the address of its data."""
    table._v.TableRoot = splay.splay(nt, node)
    return node + DATA


def insert(
    nt: Kernel, table: PRTL_GENERIC_TABLE, buffer: int, size: int, result: int, parent: int
) -> int:
    """A new element with a copy of the caller's data, 0 if there is no memory for it."""
    v = table._v
    node = nt.call(v.AllocateRoutine, table, size + DATA)
    if not node:
        return 0
    splay.initialize(nt, node)
    lists.insert_tail(nt.mmu, int(table) + LIST_HEAD, node + ORDER)
    v.NumberGenericTableElements += 1
    if result != c.TableEmptyTree:
        side = splay.LEFT if result == c.TableInsertAsLeft else splay.RIGHT
        splay.attach(nt, parent, side, node)
    if size:
        nt.mmu.write(node + DATA, nt.mmu.read(int(buffer), size))
    return node


@export(irql="<= DISPATCH")
def RtlInitializeGenericTable(
    nt: Kernel,
    Table: PRTL_GENERIC_TABLE,
    CompareRoutine: PVOID,
    AllocateRoutine: PVOID,
    FreeRoutine: PVOID,
    TableContext: PVOID,
) -> None:
    """An empty table. Source: WDK RtlInitializeGenericTable."""
    v = Table._v
    v.TableRoot = v.WhichOrderedElement = v.NumberGenericTableElements = 0
    v.CompareRoutine, v.AllocateRoutine = CompareRoutine, AllocateRoutine
    v.FreeRoutine, v.TableContext = FreeRoutine, TableContext
    lists.initialize(nt.mmu, int(Table) + LIST_HEAD)
    v.OrderedPointer = int(Table) + LIST_HEAD


@export(irql="<= APC")
def RtlInsertElementGenericTable(
    nt: Kernel,
    Table: PRTL_GENERIC_TABLE,
    Buffer: PVOID,
    BufferSize: ULONG,
    NewElement: OutOpt[BOOLEAN],
) -> PVOID:
    """The element equal to Buffer, inserted as a copy if there is none; NULL without memory.

    *NewElement says whether it was inserted. Source: WDK RtlInsertElementGenericTable.
    """
    result, node = find(nt, Table, Buffer)
    return RtlInsertElementGenericTableFull(nt, Table, Buffer, BufferSize, NewElement, node, result)


@export(irql="<= APC")
def RtlInsertElementGenericTableFull(
    nt: Kernel,
    Table: PRTL_GENERIC_TABLE,
    Buffer: PVOID,
    BufferSize: ULONG,
    NewElement: OutOpt[BOOLEAN],
    NodeOrParent: PVOID,
    SearchResult: ULONG,
) -> PVOID:
    """RtlInsertElementGenericTable with the outcome of a lookup at hand. Source: WDK."""
    node = NodeOrParent
    is_new = SearchResult != c.TableFoundNode
    if is_new:
        node = insert(nt, Table, Buffer, BufferSize, SearchResult, NodeOrParent)
    if NewElement:
        NewElement[0] = int(is_new and node != 0)
    return to_root(nt, Table, node) if node else 0


@export(irql="<= APC")
def RtlLookupElementGenericTable(nt: Kernel, Table: PRTL_GENERIC_TABLE, Buffer: PVOID) -> PVOID:
    """The element equal to Buffer, NULL if there is none. Source: WDK."""
    result, node = find(nt, Table, Buffer)
    return to_root(nt, Table, node) if result == c.TableFoundNode else 0


@export(irql="<= APC")
def RtlLookupElementGenericTableFull(
    nt: Kernel,
    Table: PRTL_GENERIC_TABLE,
    Buffer: PVOID,
    NodeOrParent: Out[PVOID],
    SearchResult: Out[ULONG],
) -> PVOID:
    """RtlLookupElementGenericTable that tells where the element is or would be. Source: WDK."""
    SearchResult[0], NodeOrParent[0] = result, node = find(nt, Table, Buffer)
    return to_root(nt, Table, node) if result == c.TableFoundNode else 0


@export(irql="<= APC")
def RtlDeleteElementGenericTable(nt: Kernel, Table: PRTL_GENERIC_TABLE, Buffer: PVOID) -> BOOLEAN:
    """Take out and free the element equal to Buffer; FALSE if there is none. Source: WDK."""
    result, node = find(nt, Table, Buffer)
    if result != c.TableFoundNode:
        return False
    v = Table._v
    v.TableRoot = splay.delete(nt, node)
    lists.remove(nt.mmu, node + ORDER)
    v.NumberGenericTableElements -= 1
    v.WhichOrderedElement, v.OrderedPointer = 0, int(Table) + LIST_HEAD
    nt.call(v.FreeRoutine, Table, node)
    return True


@export(irql="<= APC")
def RtlGetElementGenericTable(nt: Kernel, Table: PRTL_GENERIC_TABLE, I: ULONG) -> PVOID:  # noqa: E741
    """The I-th element in the order of insertion, NULL past the last. Source: WDK."""
    v = Table._v
    if v.NumberGenericTableElements <= I:
        return 0
    entry = lists.entries(nt.mmu, int(Table) + LIST_HEAD)[I]
    v.WhichOrderedElement, v.OrderedPointer = I + 1, entry
    return entry - ORDER + DATA


@export(irql="<= APC")
def RtlEnumerateGenericTable(nt: Kernel, Table: PRTL_GENERIC_TABLE, Restart: BOOLEAN) -> PVOID:
    """The first element in order, or the one behind the last one returned; NULL at the end.

    The place is the root, to which each element is splayed. Source: WDK RtlEnumerateGenericTable.
    """
    root: int = Table._v.TableRoot
    if not root:
        return 0
    node = splay.end_of(nt, root, splay.LEFT) if Restart else splay.successor(nt, root)
    return to_root(nt, Table, node) if node else 0


@export(irql="<= APC")
def RtlEnumerateGenericTableWithoutSplaying(
    nt: Kernel, Table: PRTL_GENERIC_TABLE, RestartKey: PVOID
) -> PVOID:
    """The element behind *RestartKey (NULL: the first), which becomes *RestartKey. Source: WDK."""
    root: int = Table._v.TableRoot
    if not root:
        return 0
    at = nt.read_pointer(RestartKey)
    node = splay.successor(nt, at) if at else splay.end_of(nt, root, splay.LEFT)
    if not node:
        return 0
    nt.write_pointer(RestartKey, node)
    return node + DATA


@export(irql="<= APC")
def RtlNumberGenericTableElements(nt: Kernel, Table: PRTL_GENERIC_TABLE) -> ULONG:
    """How many elements the table has. Source: WDK RtlNumberGenericTableElements."""
    return int(Table._v.NumberGenericTableElements)


@export(irql="<= APC")
def RtlIsGenericTableEmpty(nt: Kernel, Table: PRTL_GENERIC_TABLE) -> BOOLEAN:
    """TRUE if the table has no elements. Source: WDK RtlIsGenericTableEmpty."""
    return not Table._v.TableRoot
