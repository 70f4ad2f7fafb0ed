"""KPCR, KPRCB, timer tables and DPC queues as bytes."""

KPCR_PRCB = 0x180


def prcbs(memory, busy):
    return [memory.structure("KPRCB", address) for address in busy.prcbs]


def test_each_processor_s_current_and_idle_thread(memory, busy) -> None:
    for number, prcb in enumerate(prcbs(memory, busy)):
        assert prcb["Number"] == number
        assert (prcb["CurrentThread"], prcb["IdleThread"]) == busy.current[number]
        pcr = memory.structure("KPCR", prcb.va - KPCR_PRCB)
        assert (pcr["Self"], pcr["CurrentPrcb"]) == (pcr.va, prcb.va)
    here = prcbs(memory, busy)[busy.made["processor"]]
    assert here["CurrentThread"] == busy.made["thread"]


def test_nt_s_table_of_processors_leads_to_the_prcbs(memory, busy) -> None:
    table = memory.symbols["KiProcessorBlock"]
    assert [memory.number(table + 8 * n) for n in range(3)] == [*busy.prcbs, 0]


def test_a_queued_dpc_is_on_its_processor_s_list(memory, busy) -> None:
    data = memory.structure(
        "KDPC_DATA", prcbs(memory, busy)[busy.made["processor"]].address("DpcData")
    )
    dpc = memory.structure("KDPC", busy.made["here_dpc"])
    first = memory.number(data.va)
    assert (first, memory.number(data.va + 8)) == (dpc.address("DpcListEntry"),) * 2
    assert data["DpcQueueDepth"] == 1
    assert dpc["DpcData"] == data.va
    assert (dpc["SystemArgument1"], dpc["SystemArgument2"]) == (0x11, 0x22)
    assert dpc["DeferredContext"] == busy.made["storm"]
    assert prcbs(memory, busy)[busy.made["processor"]]["DpcRoutineActive"] == 0


def test_a_targeted_dpc_knows_its_processor(memory, busy) -> None:
    dpc = memory.structure("KDPC", busy.made["there_dpc"])
    assert dpc["Number"] == 0x500 + 1 - busy.made["processor"]
    assert dpc["DpcData"] == 0


def test_a_set_timer_is_in_the_table_of_its_processor(memory, busy) -> None:
    for name, period in (("once", 0), ("periodic", 70)):
        timer = memory.structure("KTIMER", busy.made[name])
        due, number = memory.number(timer.address("DueTime")), timer["Processor"]
        prcb = prcbs(memory, busy)[number]
        table = prcb.address("TimerTable") + 0x200 + (due >> 18 & 0xFF) * 0x20
        entries = memory.entries(table + 8)
        assert timer.address("TimerListEntry") in entries
        assert timer["Period"] == period
        assert due > busy.made["now"]
    assert memory.structure("KTIMER", busy.made["once"])["Dpc"] == busy.made["timer_dpc"]


def test_every_timer_of_a_table_is_one_that_is_set(memory, busy) -> None:
    found = []
    for prcb in prcbs(memory, busy):
        for hand in range(512):
            head = prcb.address("TimerTable") + 0x200 + hand * 0x20 + 8
            found += [timer.va for timer in memory.chain("KTIMER", head, "TimerListEntry")]
    assert sorted(found) == busy.timers


def test_ready_threads_stand_in_their_processor_s_queues(memory, busy) -> None:
    for number, prcb in enumerate(prcbs(memory, busy)):
        found = []
        for priority in range(32):
            head = prcb.address("DispatcherReadyListHead") + 16 * priority
            threads = memory.chain("KTHREAD", head, "WaitListEntry")
            assert bool(threads) == bool(prcb["ReadySummary"] >> priority & 1)
            assert all(t["Priority"] == priority and t["State"] == 1 for t in threads)
            found += [t.va for t in threads]
        assert sorted(found) == busy.ready[number]
