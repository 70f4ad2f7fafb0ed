"""Object headers, types, directories, symbolic links and handles as bytes."""

import pytest

from tests.nt.structures.snapshot import Snapshot


def full(model, body: int) -> str:
    return model.nt.ob.full_name(body)


def walk(memory: Snapshot, body: int, path: str = "") -> dict[str, int]:
    found = {}
    for name, entry in memory.directory(body).items():
        found[f"{path}\\{name}"] = entry
        if memory.type_name(entry) == "Directory":
            found |= walk(memory, entry, f"{path}\\{name}")
    return found


def test_the_root_leads_to_every_named_object(memory, busy) -> None:
    found = walk(memory, memory.number(memory.symbols["ObpRootDirectoryObject"]))
    assert found == busy.named
    expected = {
        "\\Device\\Base", "\\GLOBAL??\\Base", "\\Driver\\base", "\\Driver\\storm",
        "\\BaseNamedObjects\\Never", "\\ObjectTypes\\Process", "\\Device\\PhysicalMemory",
    }  # fmt: skip
    assert expected <= set(found)
    assert "\\Driver\\passing" not in found


def test_every_entry_s_name_leads_back_to_its_directory(memory) -> None:
    root = memory.number(memory.symbols["ObpRootDirectoryObject"])
    for path, body in walk(memory, root).items():
        parent = memory.object(path.rpartition("\\")[0])
        assert memory.name_information(body)["Directory"] == parent, path


def test_a_header_s_encoded_index_leads_to_the_object_s_type(memory, busy) -> None:
    for body, name in busy.types_of_objects.items():
        assert memory.type_name(body) == name, hex(body)
    raw = {memory.header(body)["TypeIndex"] for body in busy.types_of_objects}
    assert len(raw) > len(set(busy.types_of_objects.values()))


def test_types_count_their_objects_and_handles(memory, busy) -> None:
    names = list(busy.types_of_objects.values())
    for name, body in memory.directory(memory.object("\\ObjectTypes")).items():
        kind = memory.structure("OBJECT_TYPE", body)
        assert kind["TotalNumberOfObjects"] == names.count(name), name
        assert kind["TotalNumberOfHandles"] == busy.handles_of_types.get(name, 0), name
        assert kind["HighWaterNumberOfObjects"] >= kind["TotalNumberOfObjects"]
        assert memory.type_name(body) == "Type"
        assert memory.number(memory.symbols["ObTypeIndexTable"] + 8 * kind["Index"]) == body


def test_links_say_where_they_lead(memory) -> None:
    assert memory.type_name(memory.object("\\GLOBAL??\\Base")) == "SymbolicLink"
    assert memory.text(memory.object("\\GLOBAL??\\Base") + 8) == "\\Device\\Base"
    assert memory.text(memory.object("\\??") + 8) == "\\GLOBAL??"


@pytest.mark.parametrize("image", ["System", "pending.exe", "waiting.exe"])
def test_handle_tables_hold_what_is_open(memory, busy, image: str) -> None:
    process = memory.process(image)
    table = memory.structure("HANDLE_TABLE", process["ObjectTable"])
    handles = memory.handles(process)
    assert handles == busy.handles[process["UniqueProcessId"]]
    assert memory.number(table.address("FreeLists") + 0x18, 4) == len(handles)
    assert table["UniqueProcessId"] == process["UniqueProcessId"]
    assert table["QuotaProcess"] == process.va


def test_every_live_process_s_table_is_on_the_list_of_tables(memory) -> None:
    head = memory.symbols["HandleTableListHead"]
    tables = memory.chain("HANDLE_TABLE", head, "HandleTableList")
    assert {t.va for t in tables} == {p["ObjectTable"] for p in memory.processes()}


def test_free_entries_are_chained(memory) -> None:
    process = memory.process("waiting.exe")
    table = memory.structure("HANDLE_TABLE", process["ObjectTable"])
    entry, count = memory.number(table.address("FreeLists") + 8), 0
    while entry:
        assert memory.number(entry) == 0
        last, entry, count = entry, memory.number(entry + 8), count + 1
    assert last == memory.number(table.address("FreeLists") + 0x10)
    assert count == 255 - len(memory.handles(process))


def test_reference_and_handle_counts(memory, busy) -> None:
    for body, (pointers, handles) in busy.counts.items():
        header = memory.header(body)
        assert (header["PointerCount"], header["HandleCount"]) == (pointers, handles)
    opened = [body for image in ("System", "pending.exe", "waiting.exe")
              for body, _ in memory.handles(memory.process(image)).values()]  # fmt: skip
    for body in busy.counts:
        assert memory.header(body)["HandleCount"] == opened.count(body), hex(body)
