"""Security: SIDs, ACLs, security descriptors, privileges, tokens.

Layout: winnt.h and ntifs.h, the same on every x64 Windows; TOKEN is that of Windows 10 build 19041
(public symbols). Field names are the headers'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ntsim.abi.scalars import LONG, LONGLONG, PVOID, UCHAR, ULONG, ULONGLONG, USHORT
from ntsim.abi.structure import Structure, array, at

if TYPE_CHECKING:
    from ntsim.abi.rtl import LUID

SECURITY_DESCRIPTOR_REVISION = 1
SID_REVISION, SID_MAX_SUB_AUTHORITIES = 1, 15
ACL_REVISION, ACL_REVISION_DS = 2, 4
ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE, SYSTEM_AUDIT_ACE_TYPE = 0, 1, 2
SYSTEM_MANDATORY_LABEL_ACE_TYPE = 0x11
OBJECT_INHERIT_ACE, CONTAINER_INHERIT_ACE, NO_PROPAGATE_INHERIT_ACE = 1, 2, 4
INHERIT_ONLY_ACE, INHERITED_ACE = 8, 0x10
SUCCESSFUL_ACCESS_ACE_FLAG, FAILED_ACCESS_ACE_FLAG = 0x40, 0x80
SYSTEM_MANDATORY_LABEL_NO_WRITE_UP = 1
SYSTEM_MANDATORY_LABEL_NO_READ_UP, SYSTEM_MANDATORY_LABEL_NO_EXECUTE_UP = 2, 4

OWNER_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION = 1, 2
DACL_SECURITY_INFORMATION, SACL_SECURITY_INFORMATION = 4, 8
LABEL_SECURITY_INFORMATION = 0x10

SE_OWNER_DEFAULTED, SE_GROUP_DEFAULTED = 1, 2
SE_DACL_PRESENT, SE_DACL_DEFAULTED = 4, 8
SE_SACL_PRESENT, SE_SACL_DEFAULTED = 0x10, 0x20
SE_DACL_AUTO_INHERITED, SE_SACL_AUTO_INHERITED = 0x400, 0x800
SE_DACL_PROTECTED, SE_SACL_PROTECTED, SE_SELF_RELATIVE = 0x1000, 0x2000, 0x8000

ACCESS_SYSTEM_SECURITY = 1 << 24
SEF_DACL_AUTO_INHERIT, SEF_SACL_AUTO_INHERIT, SEF_DEFAULT_DESCRIPTOR_FOR_OBJECT = 1, 2, 4
SEF_AVOID_PRIVILEGE_CHECK, SEF_AVOID_OWNER_CHECK = 8, 0x10
SEF_DEFAULT_OWNER_FROM_PARENT, SEF_DEFAULT_GROUP_FROM_PARENT = 0x20, 0x40

PRIVILEGE_SET_ALL_NECESSARY = 1
SE_PRIVILEGE_ENABLED_BY_DEFAULT, SE_PRIVILEGE_ENABLED, SE_PRIVILEGE_REMOVED = 1, 2, 4
SE_PRIVILEGE_USED_FOR_ACCESS = 0x8000_0000

SE_GROUP_MANDATORY, SE_GROUP_ENABLED_BY_DEFAULT, SE_GROUP_ENABLED, SE_GROUP_OWNER = 1, 2, 4, 8
SE_GROUP_USE_FOR_DENY_ONLY, SE_GROUP_INTEGRITY, SE_GROUP_INTEGRITY_ENABLED = 0x10, 0x20, 0x40
SE_GROUP_RESOURCE, SE_GROUP_LOGON_ID = 0x2000_0000, 0xC000_0000

TokenPrimary, TokenImpersonation = 1, 2
DISABLE_MAX_PRIVILEGE, SANDBOX_INERT, LUA_TOKEN, WRITE_RESTRICTED = 1, 2, 4, 8

TokenUser, TokenGroups, TokenPrivileges, TokenOwner, TokenPrimaryGroup = range(1, 6)
TokenDefaultDacl, TokenSource, TokenType, TokenImpersonationLevel, TokenStatistics = range(6, 11)
TokenRestrictedSids, TokenSessionId = 11, 12
TokenElevationType, TokenLinkedToken, TokenElevation, TokenHasRestrictions = range(18, 22)
TokenIntegrityLevel, TokenUIAccess, TokenMandatoryPolicy, TokenLogonSid = range(25, 29)


class SID_IDENTIFIER_AUTHORITY(Structure, size=0x6):
    Value = array("UCHAR", 6, 0x00)


class SID(Structure, size=0xC):
    Revision: UCHAR = at(0x00)
    SubAuthorityCount: UCHAR = at(0x01)
    IdentifierAuthority: SID_IDENTIFIER_AUTHORITY = at(0x02)
    SubAuthority = array("ULONG", 1, 0x08)


class ACL(Structure, size=0x8):
    AclRevision: UCHAR = at(0x00)
    Sbz1: UCHAR = at(0x01)
    AclSize: USHORT = at(0x02)
    AceCount: USHORT = at(0x04)
    Sbz2: USHORT = at(0x06)


class ACE_HEADER(Structure, size=0x4):
    AceType: UCHAR = at(0x00)
    AceFlags: UCHAR = at(0x01)
    AceSize: USHORT = at(0x02)


class ACCESS_ALLOWED_ACE(Structure, size=0xC):
    Header: ACE_HEADER = at(0x00)
    Mask: ULONG = at(0x04)
    SidStart: ULONG = at(0x08)


class SECURITY_DESCRIPTOR(Structure, size=0x28):
    Revision: UCHAR = at(0x00)
    Sbz1: UCHAR = at(0x01)
    Control: USHORT = at(0x02)
    Owner: PVOID = at(0x08)
    Group: PVOID = at(0x10)
    Sacl: PVOID = at(0x18)
    Dacl: PVOID = at(0x20)


class SECURITY_DESCRIPTOR_RELATIVE(Structure, size=0x14):
    Revision: UCHAR = at(0x00)
    Sbz1: UCHAR = at(0x01)
    Control: USHORT = at(0x02)
    Owner: ULONG = at(0x04)
    Group: ULONG = at(0x08)
    Sacl: ULONG = at(0x0C)
    Dacl: ULONG = at(0x10)


class GENERIC_MAPPING(Structure, size=0x10):
    GenericRead: ULONG = at(0x00)
    GenericWrite: ULONG = at(0x04)
    GenericExecute: ULONG = at(0x08)
    GenericAll: ULONG = at(0x0C)


class LUID_AND_ATTRIBUTES(Structure, size=0xC):
    Luid: LUID = at(0x00)
    Attributes: ULONG = at(0x08)


class PRIVILEGE_SET(Structure, size=0x14):
    PrivilegeCount: ULONG = at(0x00)
    Control: ULONG = at(0x04)
    Privilege = array("LUID_AND_ATTRIBUTES", 1, 0x08)


class SID_AND_ATTRIBUTES(Structure, size=0x10):
    Sid: PVOID = at(0x00)
    Attributes: ULONG = at(0x08)


class TOKEN_USER(Structure, size=0x10):
    User: SID_AND_ATTRIBUTES = at(0x00)


class TOKEN_GROUPS(Structure, size=0x18):
    GroupCount: ULONG = at(0x00)
    Groups = array("SID_AND_ATTRIBUTES", 1, 0x08)


class TOKEN_PRIVILEGES(Structure, size=0x10):
    PrivilegeCount: ULONG = at(0x00)
    Privileges = array("LUID_AND_ATTRIBUTES", 1, 0x04)


class TOKEN_OWNER(Structure, size=0x8):
    Owner: PVOID = at(0x00)


class TOKEN_PRIMARY_GROUP(Structure, size=0x8):
    PrimaryGroup: PVOID = at(0x00)


class TOKEN_DEFAULT_DACL(Structure, size=0x8):
    DefaultDacl: PVOID = at(0x00)


class TOKEN_MANDATORY_LABEL(Structure, size=0x10):
    Label: SID_AND_ATTRIBUTES = at(0x00)


class TOKEN_SOURCE(Structure, size=0x10):
    SourceName = array("CHAR", 8, 0x00)
    SourceIdentifier: LUID = at(0x08)


class TOKEN_CONTROL(Structure, size=0x28):
    TokenId: LUID = at(0x00)
    AuthenticationId: LUID = at(0x08)
    ModifiedId: LUID = at(0x10)
    TokenSource: TOKEN_SOURCE = at(0x18)


class TOKEN_STATISTICS(Structure, size=0x38):
    TokenId: LUID = at(0x00)
    AuthenticationId: LUID = at(0x08)
    ExpirationTime: LONGLONG = at(0x10)
    TokenType: ULONG = at(0x18)
    ImpersonationLevel: ULONG = at(0x1C)
    DynamicCharged: ULONG = at(0x20)
    DynamicAvailable: ULONG = at(0x24)
    GroupCount: ULONG = at(0x28)
    PrivilegeCount: ULONG = at(0x2C)
    ModifiedId: LUID = at(0x30)


class SEP_TOKEN_PRIVILEGES(Structure, size=0x18):
    Present: ULONGLONG = at(0x00)
    Enabled: ULONGLONG = at(0x08)
    EnabledByDefault: ULONGLONG = at(0x10)


class TOKEN(Structure, size=0x498):
    TokenSource: TOKEN_SOURCE = at(0x00)
    TokenId: LUID = at(0x10)
    AuthenticationId: LUID = at(0x18)
    ParentTokenId: LUID = at(0x20)
    ExpirationTime: LONGLONG = at(0x28)
    TokenLock: PVOID = at(0x30)
    ModifiedId: LUID = at(0x38)
    Privileges: SEP_TOKEN_PRIVILEGES = at(0x40)
    # AuditPolicy at 0x58: _SEP_AUDIT_POLICY
    SessionId: ULONG = at(0x78)
    UserAndGroupCount: ULONG = at(0x7C)
    RestrictedSidCount: ULONG = at(0x80)
    VariableLength: ULONG = at(0x84)
    DynamicCharged: ULONG = at(0x88)
    DynamicAvailable: ULONG = at(0x8C)
    DefaultOwnerIndex: ULONG = at(0x90)
    UserAndGroups: PSID_AND_ATTRIBUTES = at(0x98)
    RestrictedSids: PSID_AND_ATTRIBUTES = at(0xA0)
    PrimaryGroup: PVOID = at(0xA8)
    DynamicPart: PVOID = at(0xB0)
    DefaultDacl: PACL = at(0xB8)
    TokenType: LONG = at(0xC0)
    ImpersonationLevel: LONG = at(0xC4)
    TokenFlags: ULONG = at(0xC8)
    TokenInUse: UCHAR = at(0xCC)
    IntegrityLevelIndex: ULONG = at(0xD0)
    MandatoryPolicy: ULONG = at(0xD4)
    LogonSession: PVOID = at(0xD8)
    OriginatingLogonSession: LUID = at(0xE0)
    # SidHash at 0xE8, RestrictedSidHash at 0x1F8: _SID_AND_ATTRIBUTES_HASH
    pSecurityAttributes: PVOID = at(0x308)
    Package: PVOID = at(0x310)
    Capabilities: PSID_AND_ATTRIBUTES = at(0x318)
    CapabilityCount: ULONG = at(0x320)
    # CapabilitiesHash at 0x328: _SID_AND_ATTRIBUTES_HASH
    LowboxNumberEntry: PVOID = at(0x438)
    LowboxHandlesEntry: PVOID = at(0x440)
    pClaimAttributes: PVOID = at(0x448)
    TrustLevelSid: PVOID = at(0x450)
    TrustLinkedToken: PVOID = at(0x458)
    IntegrityLevelSidValue: PVOID = at(0x460)
    TokenSidValues: PVOID = at(0x468)
    IndexEntry: PVOID = at(0x470)
    DiagnosticInfo: PVOID = at(0x478)
    BnoIsolationHandlesEntry: PVOID = at(0x480)
    SessionObject: PVOID = at(0x488)
    VariablePart: ULONGLONG = at(0x490)


class SECURITY_QUALITY_OF_SERVICE(Structure, size=0xC):
    Length: ULONG = at(0x00)
    ImpersonationLevel: ULONG = at(0x04)
    ContextTrackingMode: UCHAR = at(0x08)
    EffectiveOnly: UCHAR = at(0x09)


class SECURITY_CLIENT_CONTEXT(Structure, size=0x48):
    SecurityQos: SECURITY_QUALITY_OF_SERVICE = at(0x00)
    ClientToken: PVOID = at(0x10)
    DirectlyAccessClientToken: UCHAR = at(0x18)
    DirectAccessEffectiveOnly: UCHAR = at(0x19)
    ServerIsRemote: UCHAR = at(0x1A)
    ClientTokenControl: TOKEN_CONTROL = at(0x1C)


class SE_EXPORTS(Structure, size=0x230):
    SeCreateTokenPrivilege: LUID = at(0x000)
    SeAssignPrimaryTokenPrivilege: LUID = at(0x008)
    SeLockMemoryPrivilege: LUID = at(0x010)
    SeIncreaseQuotaPrivilege: LUID = at(0x018)
    SeUnsolicitedInputPrivilege: LUID = at(0x020)
    SeTcbPrivilege: LUID = at(0x028)
    SeSecurityPrivilege: LUID = at(0x030)
    SeTakeOwnershipPrivilege: LUID = at(0x038)
    SeLoadDriverPrivilege: LUID = at(0x040)
    SeCreatePagefilePrivilege: LUID = at(0x048)
    SeIncreaseBasePriorityPrivilege: LUID = at(0x050)
    SeSystemProfilePrivilege: LUID = at(0x058)
    SeSystemtimePrivilege: LUID = at(0x060)
    SeProfileSingleProcessPrivilege: LUID = at(0x068)
    SeCreatePermanentPrivilege: LUID = at(0x070)
    SeBackupPrivilege: LUID = at(0x078)
    SeRestorePrivilege: LUID = at(0x080)
    SeShutdownPrivilege: LUID = at(0x088)
    SeDebugPrivilege: LUID = at(0x090)
    SeAuditPrivilege: LUID = at(0x098)
    SeSystemEnvironmentPrivilege: LUID = at(0x0A0)
    SeChangeNotifyPrivilege: LUID = at(0x0A8)
    SeRemoteShutdownPrivilege: LUID = at(0x0B0)
    SeNullSid: PVOID = at(0x0B8)
    SeWorldSid: PVOID = at(0x0C0)
    SeLocalSid: PVOID = at(0x0C8)
    SeCreatorOwnerSid: PVOID = at(0x0D0)
    SeCreatorGroupSid: PVOID = at(0x0D8)
    SeNtAuthoritySid: PVOID = at(0x0E0)
    SeDialupSid: PVOID = at(0x0E8)
    SeNetworkSid: PVOID = at(0x0F0)
    SeBatchSid: PVOID = at(0x0F8)
    SeInteractiveSid: PVOID = at(0x100)
    SeLocalSystemSid: PVOID = at(0x108)
    SeAliasAdminsSid: PVOID = at(0x110)
    SeAliasUsersSid: PVOID = at(0x118)
    SeAliasGuestsSid: PVOID = at(0x120)
    SeAliasPowerUsersSid: PVOID = at(0x128)
    SeAliasAccountOpsSid: PVOID = at(0x130)
    SeAliasSystemOpsSid: PVOID = at(0x138)
    SeAliasPrintOpsSid: PVOID = at(0x140)
    SeAliasBackupOpsSid: PVOID = at(0x148)
    SeAuthenticatedUsersSid: PVOID = at(0x150)
    SeRestrictedSid: PVOID = at(0x158)
    SeAnonymousLogonSid: PVOID = at(0x160)
    SeUndockPrivilege: LUID = at(0x168)
    SeSyncAgentPrivilege: LUID = at(0x170)
    SeEnableDelegationPrivilege: LUID = at(0x178)
    SeLocalServiceSid: PVOID = at(0x180)
    SeNetworkServiceSid: PVOID = at(0x188)
    SeManageVolumePrivilege: LUID = at(0x190)
    SeImpersonatePrivilege: LUID = at(0x198)
    SeCreateGlobalPrivilege: LUID = at(0x1A0)
    SeTrustedCredManAccessPrivilege: LUID = at(0x1A8)
    SeRelabelPrivilege: LUID = at(0x1B0)
    SeIncreaseWorkingSetPrivilege: LUID = at(0x1B8)
    SeTimeZonePrivilege: LUID = at(0x1C0)
    SeCreateSymbolicLinkPrivilege: LUID = at(0x1C8)
    SeIUserSid: PVOID = at(0x1D0)
    SeUntrustedMandatorySid: PVOID = at(0x1D8)
    SeLowMandatorySid: PVOID = at(0x1E0)
    SeMediumMandatorySid: PVOID = at(0x1E8)
    SeHighMandatorySid: PVOID = at(0x1F0)
    SeSystemMandatorySid: PVOID = at(0x1F8)
    SeOwnerRightsSid: PVOID = at(0x200)
    SeAllAppPackagesSid: PVOID = at(0x208)
    SeUserModeDriversSid: PVOID = at(0x210)
    SeProcTrustWinTcbSid: PVOID = at(0x218)
    SeTrustedInstallerSid: PVOID = at(0x220)
    SeDelegateSessionUserImpersonatePrivilege: LUID = at(0x228)


if TYPE_CHECKING:
    PACL = ACL
    PSID_AND_ATTRIBUTES = SID_AND_ATTRIBUTES
    PSECURITY_QUALITY_OF_SERVICE = SECURITY_QUALITY_OF_SERVICE
    PSECURITY_CLIENT_CONTEXT = SECURITY_CLIENT_CONTEXT
    PGENERIC_MAPPING = GENERIC_MAPPING
    PPRIVILEGE_SET = PRIVILEGE_SET
