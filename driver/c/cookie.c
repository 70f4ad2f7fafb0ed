/* What Microsoft's linker makes of /GS: a security cookie that the loader has to replace, or the
   entry point stops with INT 29h. */
#include <ntddk.h>

#define DEFAULT_COOKIE 0x00002B992DDFA232ULL

ULONG_PTR __security_cookie = DEFAULT_COOKIE;

__attribute__((used)) const struct {
    ULONG Size;
    UCHAR Unused[0x54];
    ULONG_PTR *SecurityCookie;
    UCHAR Rest[0x30];
} _load_config_used = { 0x90, { 0 }, &__security_cookie, { 0 } };

NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    ULONG_PTR Cookie = *(volatile ULONG_PTR *)&__security_cookie;

    UNREFERENCED_PARAMETER(DriverObject);
    UNREFERENCED_PARAMETER(RegistryPath);
    if (Cookie == DEFAULT_COOKIE)
        __asm__ volatile("int $0x29" : : "c"(6));
    DbgPrint("cookie: %d bits above 48\n", (int)(Cookie >> 48));
    return STATUS_SUCCESS;
}
