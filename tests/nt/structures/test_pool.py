"""Pool headers and the big-page table as bytes."""

IN_USE = 2


def header(memory, address: int) -> tuple[int, int, bytes]:
    """(bytes with header, pool type, tag)."""
    word = memory.number(address - 16, 4)
    return (word >> 16 & 0xFF) * 16, word >> 24, memory.read(address - 12, 4)


def test_a_block_s_header_tells_size_type_and_tag(memory, busy) -> None:
    size, kind, tag = header(memory, busy.made["storm"])
    assert (kind, tag) == (IN_USE, b"torm")
    assert size == -(-(busy.storm_size + 16) // 16) * 16
    assert header(memory, busy.made["paged"]) == (128, IN_USE + 1, b"Paged"[:3] + b"d")


def test_a_freed_block_s_header_says_so(memory, busy) -> None:
    assert header(memory, busy.made["freed"])[:2] == (224, 0)


def test_blocks_of_a_page_follow_one_another(memory, busy) -> None:
    page = busy.made["storm"] & ~0xFFF
    at = page
    while at < page + 0x1000 and (size := (memory.number(at, 4) >> 16 & 0xFF) * 16):
        at += size
    assert at > page


def test_a_large_block_is_in_the_big_page_table(memory, busy) -> None:
    """POOL_TRACKER_BIG_PAGES: Va (bit 0: free), Key (tag), PoolType, NumberOfBytes; hashed."""
    table = memory.number(memory.symbols["PoolBigPageTable"])
    size = memory.number(memory.symbols["PoolBigPageTableSize"])
    found = {}
    for index in range(size):
        va = memory.number(table + 24 * index)
        if va and not va & 1:
            tag = memory.read(table + 24 * index + 8, 4)
            found[va] = (tag, memory.number(table + 24 * index + 16))
    assert found == busy.big
    assert found[busy.made["big"]] == (b"Big!", 0x4000)
