"""The virtualised code of the forum's post: XOR, CPUID, OUT of 16 bits, HLT in seventeen bytes."""

from ntsim.abi import vmx_constants as f

FORUM_CODE = bytes.fromhex("4831c0 0fa2 baf8030000 66b84100 66ef f4")
CODE_VA = 0xFFFF_F800_0000_0000


def test_the_seventeen_bytes_exit_at_cpuid_out_and_hlt(guest):
    assert len(FORUM_CODE) == 17
    guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_UNCONDITIONAL_IO_EXITING)
    exits = [guest.launch(FORUM_CODE), guest.resume(), guest.resume()]
    assert [(e.reason, e.rip - CODE_VA) for e in exits] == [
        (f.EXIT_REASON_CPUID, 3),
        (f.EXIT_REASON_IO_INSTRUCTION, 14),
        (f.EXIT_REASON_HLT, 16),
    ]


def test_the_out_is_a_16_bit_out_of_0x41_to_port_0x3f8_through_dx(guest):
    guest.control(f.CPU_BASED_VM_EXEC_CONTROL, f.CPU_BASED_UNCONDITIONAL_IO_EXITING)
    guest.launch(FORUM_CODE)
    exited = guest.resume()
    assert exited.qualification == 0x3F8 << 16 | 1  # OUT, two bytes, port in DX
    assert guest.read(f.VM_EXIT_INSTRUCTION_LEN) == 2
    assert guest.gpr("rax") & 0xFFFF == 0x41


def test_a_guest_without_io_exiting_writes_the_port_itself(guest):
    written = []

    class Port:
        def port_in(self, port, size):
            return 0

        def port_out(self, port, size, value):
            written.append((port, size, value))

    guest.processor.ports.attach(Port(), 0x3F8, 8)
    guest.launch(FORUM_CODE)
    assert guest.resume().reason == f.EXIT_REASON_HLT
    assert written == [(0x3F8, 2, 0x41)]
