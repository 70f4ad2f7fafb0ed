"""Texts of the common Win32 errors, for `ntsim.abi.winerror.strerror`.

Wording: Microsoft Learn, "System Error Codes"; 14, 433 and 483 as Windows 10 prints them. `%1`
stays, as with FORMAT_MESSAGE_IGNORE_INSERTS.
"""

TEXTS: dict[int, str] = {
    0: "The operation completed successfully.",
    1: "Incorrect function.",
    2: "The system cannot find the file specified.",
    3: "The system cannot find the path specified.",
    4: "The system cannot open the file.",
    5: "Access is denied.",
    6: "The handle is invalid.",
    7: "The storage control blocks were destroyed.",
    8: "Not enough memory resources are available to process this command.",
    9: "The storage control block address is invalid.",
    10: "The environment is incorrect.",
    11: "An attempt was made to load a program with an incorrect format.",
    12: "The access code is invalid.",
    13: "The data is invalid.",
    14: "Not enough memory resources are available to complete this operation.",
    15: "The system cannot find the drive specified.",
    16: "The directory cannot be removed.",
    17: "The system cannot move the file to a different disk drive.",
    18: "There are no more files.",
    19: "The media is write protected.",
    20: "The system cannot find the device specified.",
    21: "The device is not ready.",
    22: "The device does not recognize the command.",
    23: "Data error (cyclic redundancy check).",
    24: "The program issued a command but the command length is incorrect.",
    25: "The drive cannot locate a specific area or track on the disk.",
    26: "The specified disk or diskette cannot be accessed.",
    27: "The drive cannot find the sector requested.",
    28: "The printer is out of paper.",
    29: "The system cannot write to the specified device.",
    30: "The system cannot read from the specified device.",
    31: "A device attached to the system is not functioning.",
    32: "The process cannot access the file because it is being used by another process.",
    33: (
        "The process cannot access the file because another process has locked a portion of the"
        " file."
    ),
    36: "Too many files opened for sharing.",
    38: "Reached the end of the file.",
    39: "The disk is full.",
    50: "The request is not supported.",
    53: "The network path was not found.",
    54: "The network is busy.",
    55: "The specified network resource or device is no longer available.",
    58: "The specified server cannot perform the requested operation.",
    59: "An unexpected network error occurred.",
    64: "The specified network name is no longer available.",
    65: "Network access is denied.",
    67: "The network name cannot be found.",
    80: "The file exists.",
    82: "The directory or file cannot be created.",
    87: "The parameter is incorrect.",
    105: "The previous ownership of this semaphore has ended.",
    108: "The disk is in use or locked by another process.",
    109: "The pipe has been ended.",
    110: "The system cannot open the device or file specified.",
    111: "The file name is too long.",
    112: "There is not enough space on the disk.",
    114: "The target internal file identifier is incorrect.",
    117: "The IOCTL call made by the application program is not correct.",
    119: "The system does not support the command requested.",
    120: "This function is not supported on this system.",
    121: "The semaphore timeout period has expired.",
    122: "The data area passed to a system call is too small.",
    123: "The filename, directory name, or volume label syntax is incorrect.",
    124: "The system call level is not correct.",
    126: "The specified module could not be found.",
    127: "The specified procedure could not be found.",
    128: "There are no child processes to wait for.",
    131: "An attempt was made to move the file pointer before the beginning of the file.",
    132: "The file pointer cannot be set on the specified device or file.",
    145: "The directory is not empty.",
    158: "The segment is already unlocked.",
    161: "The specified path is invalid.",
    164: "No more threads can be created in the system.",
    167: "Unable to lock a region of a file.",
    170: "The requested resource is in use.",
    182: "The operating system cannot run %1.",
    183: "Cannot create a file when that file already exists.",
    187: "The specified system semaphore name was not found.",
    193: "%1 is not a valid Win32 application.",
    203: "The system could not find the environment option that was entered.",
    206: "The filename or extension is too long.",
    223: "The file size exceeds the limit allowed and cannot be saved.",
    230: "The pipe state is invalid.",
    231: "All pipe instances are busy.",
    232: "The pipe is being closed.",
    233: "No process is on the other end of the pipe.",
    234: "More data is available.",
    240: "The session was canceled.",
    258: "The wait operation timed out.",
    259: "No more data is available.",
    266: "The copy functions cannot be used.",
    267: "The directory name is invalid.",
    288: "Attempt to release mutex not owned by caller.",
    298: "Too many posts were made to a semaphore.",
    299: "Only part of a ReadProcessMemory or WriteProcessMemory request was completed.",
    317: "The system cannot find message text for message number 0x%1 in the message file for %2.",
    433: "A device which does not exist was specified.",
    483: "The request failed due to a fatal device hardware error.",
    487: "Attempt to access invalid address.",
    534: "Arithmetic result exceeded 32 bits.",
    535: "There is a process on other end of the pipe.",
    536: "Waiting for a process to open the other end of the pipe.",
    541: (
        "An attempt was made to cancel or set a timer that has an associated APC and the "
        "subject thread is not the thread that originally set the timer with an associated APC "
        "routine."
    ),
    577: (
        "Windows cannot verify the digital signature for this file. A recent hardware or "
        "software change might have installed a file that is signed incorrectly or damaged, or "
        "that might be malicious software from an unknown source."
    ),
    578: "{No Paging File Specified} No paging file was specified in the system configuration.",
    582: (
        "An illegal character was encountered. For a multi-byte character set this includes a "
        "lead byte without a succeeding trail byte. For the Unicode character set this includes"
        " the characters 0xFFFF and 0xFFFE."
    ),
    593: "NTVDM encountered a hard error.",
    641: "The system is in the process of shutting down.",
    647: "The driver was not loaded because it failed its initialization call.",
    654: (
        "The driver could not be loaded because a previous version of the driver is still in "
        "memory."
    ),
    665: "The requested operation could not be completed due to a file system limitation.",
    690: "Debugger cannot provide handle.",
    735: "ERROR_ABANDONED_WAIT_0",
    737: "ERROR_USER_APC",
    738: "ERROR_KERNEL_APC",
    739: "ERROR_ALERTED",
    740: "The requested operation requires elevation.",
    995: (
        "The I/O operation has been aborted because of either a thread exit or an application "
        "request."
    ),
    996: "Overlapped I/O event is not in a signaled state.",
    997: "Overlapped I/O operation is in progress.",
    998: "Invalid access to memory location.",
    999: "Error performing inpage operation.",
    1001: "Recursion too deep; the stack overflowed.",
    1005: (
        "The volume does not contain a recognized file system. Please make sure that all "
        "required file system drivers are loaded and that the volume is not corrupted."
    ),
    1006: (
        "The volume for a file has been externally altered so that the opened file is no longer"
        " valid."
    ),
    1007: "The requested operation cannot be performed in full-screen mode.",
    1009: "The configuration registry database is corrupt.",
    1010: "The configuration registry key is invalid.",
    1011: "The configuration registry key could not be opened.",
    1016: (
        "An I/O operation initiated by the registry failed unrecoverably. The registry could "
        "not read in, or write out, or flush, one of the files that contain the system's image "
        "of the registry."
    ),
    1017: (
        "The system has attempted to load or restore a file into the registry, but the "
        "specified file is not in a registry file format."
    ),
    1018: "Illegal operation attempted on a registry key that has been marked for deletion.",
    1020: "Cannot create a symbolic link in a registry key that already has subkeys or values.",
    1021: "Cannot create a stable subkey under a volatile parent key.",
    1022: (
        "A notify change request is being completed and the information is not being returned "
        "in the caller's buffer. The caller now needs to enumerate the files to find the "
        "changes."
    ),
    1051: "A stop control has been sent to a service that other running services are dependent on.",
    1052: "The requested control is not valid for this service.",
    1053: "The service did not respond to the start or control request in a timely fashion.",
    1054: "A thread could not be created for the service.",
    1055: "The service database is locked.",
    1056: "An instance of the service is already running.",
    1057: (
        "The account name is invalid or does not exist, or the password is invalid for the "
        "account name specified."
    ),
    1058: (
        "The service cannot be started, either because it is disabled or because it has no "
        "enabled devices associated with it."
    ),
    1059: "Circular service dependency was specified.",
    1060: "The specified service does not exist as an installed service.",
    1061: "The service cannot accept control messages at this time.",
    1062: "The service has not been started.",
    1063: "The service process could not connect to the service controller.",
    1064: "An exception occurred in the service when handling the control request.",
    1065: "The database specified does not exist.",
    1066: "The service has returned a service-specific error code.",
    1067: "The process terminated unexpectedly.",
    1068: "The dependency service or group failed to start.",
    1069: "The service did not start due to a logon failure.",
    1070: "After starting, the service hung in a start-pending state.",
    1071: "The specified service database lock is invalid.",
    1072: "The specified service has been marked for deletion.",
    1073: "The specified service already exists.",
    1074: "The system is currently running with the last-known-good configuration.",
    1075: "The dependency service does not exist or has been marked for deletion.",
    1076: "The current boot has already been accepted for use as the last-known-good control set.",
    1077: "No attempts to start the service have been made since the last boot.",
    1078: "The name is already in use as either a service name or a service display name.",
    1079: (
        "The account specified for this service is different from the account specified for "
        "other services running in the same process."
    ),
    1083: (
        "The executable program that this service is configured to run in does not implement "
        "the service."
    ),
    1084: "This service cannot be started in Safe Mode.",
    1110: "The media in the drive may have changed.",
    1111: "The I/O bus was reset.",
    1112: "No media in drive.",
    1114: "A dynamic link library (DLL) initialization routine failed.",
    1115: "A system shutdown is in progress.",
    1117: "The request could not be performed because of an I/O device error.",
    1130: "Not enough server storage is available to process this command.",
    1131: "A potential deadlock condition has been detected.",
    1132: "The base address or the file offset specified does not have the proper alignment.",
    1152: "Cannot start more than one instance of the specified program.",
    1154: "One of the library files needed to run this application is damaged.",
    1157: "One of the library files needed to run this application cannot be found.",
    1164: "The indicated device requires reinitialization due to hardware errors.",
    1165: (
        "The device has indicated that cleaning is required before further operations are "
        "attempted."
    ),
    1166: "The device has indicated that its door is open.",
    1167: "The device is not connected.",
    1168: "Element not found.",
    1169: "There was no match for the specified key in the index.",
    1223: "The operation was canceled by the user.",
    1225: "The remote computer refused the network connection.",
    1229: "An operation was attempted on a nonexistent network connection.",
    1231: (
        "The network location cannot be reached. For information about network troubleshooting,"
        " see Windows Help."
    ),
    1235: "The request was aborted.",
    1236: "The network connection was aborted by the local system.",
    1237: "The operation could not be completed. A retry should be performed.",
    1242: "The service is already registered.",
    1243: "The specified service does not exist.",
    1247: (
        "An attempt was made to perform an initialization operation when initialization has "
        "already been completed."
    ),
    1275: "This driver has been blocked from loading.",
    1276: (
        "A dynamic link library (DLL) referenced a module that was neither a DLL nor the "
        "process's executable image."
    ),
    1300: "Not all privileges or groups referenced are assigned to the caller.",
    1305: "The revision level is unknown.",
    1307: "This security ID may not be assigned as the owner of this object.",
    1309: (
        "An attempt has been made to operate on an impersonation token by a thread that is not "
        "currently impersonating a client."
    ),
    1312: "A specified logon session does not exist. It may already have been terminated.",
    1314: "A required privilege is not held by the client.",
    1332: "No mapping between account names and security IDs was done.",
    1336: "The access control list (ACL) structure is invalid.",
    1337: "The security ID structure is invalid.",
    1338: "The security descriptor structure is invalid.",
    1346: (
        "Either a required impersonation level was not provided, or the provided impersonation "
        "level is invalid."
    ),
    1347: "Cannot open an anonymous level security token.",
    1350: "Unable to perform a security operation on an object that has no associated security.",
    1359: "An internal error occurred.",
    1360: (
        "Generic access types were contained in an access mask which should already be mapped "
        "to nongeneric types."
    ),
    1392: "The file or directory is corrupted and unreadable.",
    1393: "The disk structure is corrupted and unreadable.",
    1400: "Invalid window handle.",
    1444: "Invalid thread identifier.",
    1450: "Insufficient system resources exist to complete the requested service.",
    1451: "Insufficient system resources exist to complete the requested service.",
    1452: "Insufficient system resources exist to complete the requested service.",
    1453: "Insufficient quota to complete the requested service.",
    1454: "Insufficient quota to complete the requested service.",
    1455: "The paging file is too small for this operation to complete.",
    1460: "This operation returned because the timeout period expired.",
    1702: "The binding handle is invalid.",
    1722: "The RPC server is unavailable.",
    1784: "The supplied user buffer is not valid for the requested operation.",
    1813: "The specified resource type cannot be found in the image file.",
    1814: "The specified resource name cannot be found in the image file.",
    1816: "Not enough quota is available to process this command.",
}
