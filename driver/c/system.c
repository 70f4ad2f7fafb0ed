/* System instructions that few drivers use: machine status word, LDT and task registers, string
 * input and output. */
#include <ntddk.h>

typedef struct { USHORT Limit; ULONG64 Base; } __attribute__((packed)) TABLE;

static VOID MachineStatus(VOID)
{
    ULONG64 Before, Set, Clear, Word = ~0ULL;
    USHORT Short;

    __asm__ volatile("mov %%cr0, %0" : "=r"(Before));
    __asm__ volatile("smsw %w0" : "+r"(Word));
    DbgPrint("SMSW %s, upper bits %s\n", (Word & 0xffff) == (Before & 0xffff) ? "agrees" : "differs",
             Word >> 16 == 0xffffffffffffULL ? "stay" : "change");
    Short = (USHORT)(Before | 8) & ~1;
    __asm__ volatile("lmsw %w1; mov %%cr0, %0" : "=r"(Set) : "r"(Short));
    __asm__ volatile("clts; mov %%cr0, %0" : "=r"(Clear));
    DbgPrint("LMSW: TS %d PE %d; CLTS: TS %d; the rest %s\n", (int)(Set >> 3 & 1), (int)(Set & 1),
             (int)(Clear >> 3 & 1), (Clear | 8) == (Before | 8) ? "stays" : "changes");
}

static VOID TaskRegister(VOID)
{
    TABLE Table;
    USHORT Before, After, Ldt = 0x7777, Zero = 0;
    UCHAR *Descriptor;

    __asm__ volatile("sgdt %0; str %1" : "=m"(Table), "=m"(Before));
    Descriptor = (UCHAR *)Table.Base + Before;
    DbgPrint("TR %x, type %x\n", Before, Descriptor[5] & 15);
    Descriptor[5] &= ~2;
    __asm__ volatile("ltr %1; str %w0" : "=r"(After) : "m"(Before));
    DbgPrint("LTR: %x, type %x\n", After, Descriptor[5] & 15);
    __asm__ volatile("lldt %w1; sldt %0" : "=m"(Ldt) : "r"(Zero));
    DbgPrint("LLDT: %x\n", Ldt);
}

static VOID Strings(VOID)
{
    UCHAR In[8] = {1, 2, 3, 4, 5, 6, 7, 8}, Out[4] = {9, 9, 9, 9}, *Where = In, *From = Out + 3;
    ULONG64 Count = 5;

    __asm__ volatile("rep insb" : "+D"(Where), "+c"(Count) : "d"(0x5000) : "memory");
    DbgPrint("INS: %x %x %x, %d bytes, count %d\n", In[0], In[4], In[5], (int)(Where - In), (int)Count);
    Count = 3;
    __asm__ volatile("std; rep outsb; cld" : "+S"(From), "+c"(Count) : "d"(0x5000) : "memory");
    DbgPrint("OUTS backwards: %d bytes, count %d\n", (int)(Out + 3 - From), (int)Count);
    Count = 0;
    __asm__ volatile("rep insb" : "+D"(Where), "+c"(Count) : "d"(0x5000) : "memory");
    DbgPrint("none: %d bytes\n", (int)(Where - In));
    __asm__ volatile("insl" : "+D"(Where) : "d"(0x5000) : "memory");
    DbgPrint("one: %x %d\n", In[5], (int)(Where - In));
}

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    MachineStatus();
    TaskRegister();
    Strings();
    return STATUS_SUCCESS;
}
