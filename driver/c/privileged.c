/* Privileged instructions, VT-x included, and what they say. */
#include <ntddk.h>

static ULONG64 ReadMsr(ULONG Index)
{
    ULONG Low, High;

    __asm__ volatile("rdmsr" : "=a"(Low), "=d"(High) : "c"(Index));
    return (ULONG64)High << 32 | Low;
}

static VOID Interrupts(VOID)
{
    ULONG64 Before, Off, After;

    __asm__ volatile("pushfq; pop %0; cli; pushfq; pop %1; sti; pushfq; pop %2"
                     : "=r"(Before), "=r"(Off), "=r"(After));
    DbgPrint("IF %d %d %d\n", (int)(Before >> 9 & 1), (int)(Off >> 9 & 1), (int)(After >> 9 & 1));
}

static VOID Registers(VOID)
{
    ULONG a = 1, b, c = 0, d;
    ULONG64 Cr3, Cr8, Tsc1, Tsc2, One, Two;
    USHORT Tr;
    struct { USHORT Limit; ULONG64 Base; } __attribute__((packed)) Table;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    DbgPrint("CPUID.1 VMX %d hypervisor %d\n", c >> 5 & 1, c >> 31 & 1);
    __asm__ volatile("mov %%cr3, %0; mov %%cr8, %1; str %2" : "=r"(Cr3), "=r"(Cr8), "=r"(Tr));
    __asm__ volatile("sgdt %0" : "=m"(Table));
    DbgPrint("CR3 %I64x CR8 %I64d TR %x GDT limit %x\n", Cr3, Cr8, Tr, Table.Limit);
    __asm__ volatile("rdtsc; shl $32, %%rdx; or %%rdx, %%rax" : "=a"(Tsc1) : : "rdx");
    __asm__ volatile("rdtsc; shl $32, %%rdx; or %%rdx, %%rax" : "=a"(Tsc2) : : "rdx");
    DbgPrint("time %s\n", Tsc2 >= Tsc1 ? "goes on" : "goes back");
    __asm__ volatile("mov %%gs:0x188, %0; mov %%gs:0x18, %1" : "=r"(One), "=r"(Two));
    DbgPrint("current thread %s, KPCR %s\n", One == (ULONG64)PsGetCurrentThread() ? "agrees" : "differs",
             Two == ReadMsr(0xC0000101) ? "agrees" : "differs");
    DbgPrint("ticks %s\n", *(volatile ULONG64 *)0xFFFFF78000000014ULL ? "count" : "stand");
}

static VOID Vmx(VOID)
{
    PHYSICAL_ADDRESS Highest;
    ULONG *Region;
    ULONG64 Pa, Cr4, Value = 0;
    UCHAR On, Clear, Load, Write, Bad;

    Highest.QuadPart = -1;
    Region = MmAllocateContiguousMemory(2 * PAGE_SIZE, Highest);
    RtlZeroMemory(Region, 2 * PAGE_SIZE);
    Region[0] = Region[1024] = (ULONG)ReadMsr(0x480);
    Pa = MmGetPhysicalAddress(Region).QuadPart;
    __asm__ volatile("mov %%cr4, %0" : "=r"(Cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(Cr4 | 1 << 13));
    __asm__ volatile("vmxon %1; setna %0" : "=q"(On) : "m"(Pa) : "cc", "memory");
    __asm__ volatile("vmclear %1; setna %0" : "=q"(Bad) : "m"(Pa) : "cc", "memory");
    Pa += PAGE_SIZE;
    __asm__ volatile("vmclear %1; setna %0" : "=q"(Clear) : "m"(Pa) : "cc", "memory");
    __asm__ volatile("vmptrld %1; setna %0" : "=q"(Load) : "m"(Pa) : "cc", "memory");
    __asm__ volatile("vmwrite %1, %2; setna %0" : "=q"(Write) : "r"(0x1234567ULL), "r"(0x681eULL) : "cc");
    __asm__ volatile("vmread %1, %0" : "=r"(Value) : "r"(0x681eULL) : "cc");
    __asm__ volatile("vmxoff");
    __asm__ volatile("mov %0, %%cr4" : : "r"(Cr4));
    DbgPrint("VMX %d %d %d %d %d, GUEST_RIP %I64x\n", On, Bad, Clear, Load, Write, Value);
    MmFreeContiguousMemory(Region);
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    KIRQL Old;

    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    Registers();
    Interrupts();
    KeRaiseIrql(DISPATCH_LEVEL, &Old);
    DbgPrint("IRQL %d, was %d\n", KeGetCurrentIrql(), Old);
    KeLowerIrql(Old);
    Vmx();
    return STATUS_SUCCESS;
}
