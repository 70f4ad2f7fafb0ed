"""EPROCESS and ETHREAD lists, wait blocks, APC lists and mutexes as bytes."""

import pytest

WAITING, READY, RUNNING = 5, 1, 2
WAIT_ALL, WAIT_ANY = 0, 1


def thread(memory, busy, name: str):
    return memory.structure("KTHREAD", busy.made[name])


def test_the_active_processes_are_those_that_live(memory, busy) -> None:
    found = [(p["UniqueProcessId"], p.va, memory.root_of(p)) for p in memory.processes()]
    assert found == busy.processes
    names = [memory.read(p.address("ImageFileName"), 15).rstrip(b"\0") for p in memory.processes()]
    assert names == [b"System", b"pending.exe", b"waiting.exe"]


def test_both_thread_lists_of_a_process_hold_its_threads(memory, busy) -> None:
    for process in memory.processes():
        threads = memory.threads(process)
        assert [t.va for t in threads] == busy.threads[process["UniqueProcessId"]]
        again = memory.chain(
            "KTHREAD",
            memory.structure("KPROCESS", process.va).address("ThreadListHead"),
            "ThreadListEntry",
        )
        assert [t.va for t in again] == [t.va for t in threads]
        assert process["ActiveThreads"] == len(threads)
        for each in threads:
            assert memory.structure("KTHREAD", each.va)["Process"] == process.va
            assert memory.number(each.address("Cid")) == process["UniqueProcessId"]


def test_every_state_a_thread_is_in(memory, busy) -> None:
    for process in memory.processes():
        for each in memory.threads(process):
            state = memory.structure("KTHREAD", each.va)["State"]
            assert state == busy.states[each.va], hex(each.va)
    assert thread(memory, busy, "wait_for_both")["State"] == WAITING
    assert thread(memory, busy, "thread")["State"] == RUNNING


def test_a_wait_for_all_links_a_block_into_each_object(memory, busy) -> None:
    waiter = thread(memory, busy, "wait_for_both")
    assert (waiter["WaitBlockCount"], waiter["WaitMode"], waiter["WaitReason"]) == (2, 0, 0)
    first = waiter["WaitBlockList"]
    assert first == waiter.address("WaitBlock")
    for index, name in enumerate(("event", "semaphore")):
        block = memory.structure("KWAIT_BLOCK", first + 0x30 * index)
        assert (block["Thread"], block["Object"]) == (waiter.va, busy.made[name])
        assert (block["WaitType"], block["WaitKey"]) == (WAIT_ALL, index)
        header = memory.structure("DISPATCHER_HEADER", busy.made[name])
        assert block.va in memory.entries(header.address("WaitListHead"))


def test_signal_states_and_limits(memory, busy) -> None:
    def header(name: str) -> tuple[int, int]:
        view = memory.structure("DISPATCHER_HEADER", busy.made[name])
        return view["Type"], view["SignalState"]

    assert header("event") == (0, 0)
    assert header("signalled") == (1, 1)
    assert header("semaphore") == (5, 3)
    assert memory.structure("KSEMAPHORE", busy.made["semaphore"])["Limit"] == 7
    assert header("mutex") == (2, 0)


def test_waiters_stand_in_the_order_in_which_they_came(memory, busy) -> None:
    header = memory.structure("DISPATCHER_HEADER", busy.made["event"])
    blocks = memory.entries(header.address("WaitListHead"))
    waiters = [memory.structure("KWAIT_BLOCK", block)["Thread"] for block in blocks]
    names = ("hold_mutex", "wait_for_both", "wait_as_user")
    assert waiters == [busy.made[name] for name in names]


def test_an_owned_mutex_is_on_its_owner_s_list(memory, busy) -> None:
    mutex = memory.structure("KMUTANT", busy.made["mutex"])
    assert mutex["OwnerThread"] == busy.made["holder"]
    owner = memory.structure("KTHREAD", busy.made["holder"])
    assert memory.entries(owner.address("MutantListHead")) == [mutex.address("MutantListEntry")]


def test_a_thread_s_timeout_is_its_own_timer(memory, busy) -> None:
    waiter = thread(memory, busy, "wait_for_both")
    timer = waiter.sub("KTIMER", "Timer")
    assert memory.number(timer.address("DueTime")) > busy.made["now"]
    assert timer.sub("DISPATCHER_HEADER", "Header")["TimerMiscFlags"] & 1 << 6


def test_a_user_mode_wait_says_so(memory, busy) -> None:
    waiter = thread(memory, busy, "wait_as_user")
    assert (waiter["WaitMode"], waiter["WaitReason"]) == (1, 6)
    assert waiter["MiscFlags"] & 1 << 4


def test_an_apc_that_may_not_run_waits_on_the_thread_s_list(memory, busy) -> None:
    owner = memory.structure("KTHREAD", busy.made["holder"])
    state = owner.sub("KAPC_STATE", "ApcState")
    apc = memory.structure("KAPC", busy.made["apc"])
    assert busy.made["apc inserted"] == 1
    assert memory.entries(state.address("ApcListHead")) == [apc.address("ApcListEntry")]
    assert (apc["Inserted"], apc["Thread"], apc["SystemArgument2"]) == (1, owner.va, 7)
    assert state["KernelApcPending"] == 1
    assert owner["KernelApcDisable"] == 0xFFFF - 1


def test_a_pending_request_is_on_its_thread_s_list(memory, busy) -> None:
    (waiter,) = memory.threads(memory.process("pending.exe"))
    irps = memory.chain("IRP", waiter.address("IrpList"), "ThreadListEntry")
    assert [irp.va for irp in irps] == [busy.made["irp"]]
    assert irps[0]["Tail.Overlay.Thread"] == waiter.va


@pytest.mark.parametrize("image", ["pending.exe", "waiting.exe"])
def test_a_process_s_page_tables_map_what_its_vads_promise(memory, busy, image: str) -> None:
    process = memory.process(image)
    seen = [(first << 12, last + 1 << 12) for _, first, last in memory.vads(process)]
    assert seen == busy.ranges[process["UniqueProcessId"]]
    assert process["VadCount"] == len(seen)
    inside = memory.using(memory.root_of(process))
    peb = process["Peb"]
    assert any(start <= peb < end for start, end in seen)
    assert inside.read(peb, 8)
    assert inside.number(process["SectionBaseAddress"], 2) == 0x5A4D


def test_vads_tell_private_memory_from_images(memory) -> None:
    process = memory.process("waiting.exe")
    base = process["SectionBaseAddress"] >> 12
    for node, first, last in memory.vads(process):
        flags, tag = memory.number(node + 0x30, 4), memory.read(node - 12, 4)
        private = bool(flags & 1 << 20)
        assert tag == (b"VadS" if private else b"Vad ")
        if first == base:
            assert (flags >> 4 & 7, private) == (2, False)
        if (last - first, private) == (4, True):
            assert memory.number(node + 0x34, 4) & 0x7FFF_FFFF == 2
            assert flags >> 7 & 0x1F == 4
            break
    else:
        raise AssertionError("the reservation of five pages is missing")
