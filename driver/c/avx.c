/* What a driver does before it uses AVX: it asks what the processor and the system have, saves the
 * state, and goes another way if there is none. The last control code executes AVX all the same. */
#include <ntddk.h>

NTSYSAPI ULONG64 NTAPI RtlGetEnabledExtendedFeatures(ULONG64 FeatureMask);

static VOID Cpuid(ULONG Leaf, ULONG *Registers)
{
    __asm__ volatile("cpuid"
                     : "=a"(Registers[0]), "=b"(Registers[1]), "=c"(Registers[2]), "=d"(Registers[3])
                     : "a"(Leaf), "c"(0));
}

static ULONG64 Xmm(ULONG64 Set)
{
    ULONG64 Old;

    __asm__ volatile("movq %%xmm7, %0\n movq %1, %%xmm7" : "=&r"(Old) : "r"(Set) : "xmm7");
    return Old;
}

static VOID Run(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    __asm__ volatile("vaddps %xmm0, %xmm1, %xmm2");
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG Registers[4], Extended[4];
    ULONG64 Inside, After;
    NTSTATUS Status;
    XSTATE_SAVE Saved;

    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = Run;
    Cpuid(1, Registers);
    Cpuid(0xD, Extended);
    DbgPrint("OSXSAVE, AVX: %d, %d; leaf D: %x\n", Registers[2] >> 27 & 1, Registers[2] >> 28 & 1,
             Extended[0] | Extended[1] | Extended[2]);
    DbgPrint("enabled: %I64x, in shared data: %I64x\n", RtlGetEnabledExtendedFeatures(~0ull),
             *(volatile ULONG64 *)0xFFFFF780000003D8);
    Xmm(0x1111);
    Status = KeSaveExtendedProcessorState(3, &Saved);
    Inside = Xmm(0x2222);
    KeRestoreExtendedProcessorState(&Saved);
    After = Xmm(0);
    DbgPrint("saved: %x, mask %I64x, xmm7 %I64x, then %I64x\n", Status, Saved.XStateContext.Mask, Inside,
             After);
    Status = KeSaveExtendedProcessorState(4, &Saved);
    DbgPrint("AVX: %x, mask %I64x\n", Status, Saved.XStateContext.Mask);
    KeRestoreExtendedProcessorState(&Saved);
    __try {
        ULONG Low, High;

        __asm__ volatile("xgetbv" : "=a"(Low), "=d"(High) : "c"(0));
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("XGETBV: %x\n", GetExceptionCode());
    }
    __try {
        ULONG64 Value = 0;

        __asm__ volatile("movq %%cr4, %0\n orq $0x40000, %0\n movq %0, %%cr4" : "+r"(Value));
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        DbgPrint("CR4.OSXSAVE: %x\n", GetExceptionCode());
    }
    return STATUS_SUCCESS;
}
