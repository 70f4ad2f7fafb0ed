"""Enumerations that live in the kernel's bytes but in no public header.

Values: Windows 10 x64 public symbols; KTHREAD_STATE also winsiderss/phnt ntkeapi.h;
KAPC_ENVIRONMENT ReactOS NDK ketypes.h.
"""

# KOBJECTS: DISPATCHER_HEADER.Type, and the Type of KAPC, KDPC and KDEVICE_QUEUE
EventNotificationObject = 0
EventSynchronizationObject = 1
MutantObject = 2
ProcessObject = 3
QueueObject = 4
SemaphoreObject = 5
ThreadObject = 6
GateObject = 7
TimerNotificationObject = 8
TimerSynchronizationObject = 9
ProfileCallbackObject = 17
ApcObject = 18
DpcObject = 19
DeviceQueueObject = 20
PriQueueObject = 21
InterruptObject = 22
ProfileObject = 23
Timer2NotificationObject = 24
Timer2SynchronizationObject = 25
ThreadedDpcObject = 26
MaximumKernelObject = 27

# KTHREAD_STATE: KTHREAD.State
Initialized = 0
Ready = 1
Running = 2
Standby = 3
Terminated = 4
Waiting = 5
Transition = 6
DeferredReady = 7
GateWaitObsolete = 8
WaitingForProcessInSwap = 9

# KWAIT_STATE: KTHREAD.WaitRegister.State
WaitInProgress = 0
WaitCommitted = 1
WaitAborted = 2
WaitSuspendInProgress = 3
WaitSuspended = 4
WaitResumeInProgress = 5
WaitResumeAborted = 6

# KWAIT_BLOCK_STATE: KWAIT_BLOCK.BlockState
WaitBlockBypassStart = 0
WaitBlockBypassComplete = 1
WaitBlockSuspendBypassStart = 2
WaitBlockSuspendBypassComplete = 3
WaitBlockActive = 4
WaitBlockInactive = 5
WaitBlockSuspended = 6
WaitBlockAllStates = 7

# KAPC_ENVIRONMENT: KAPC.ApcStateIndex
OriginalApcEnvironment = 0
AttachedApcEnvironment = 1
CurrentApcEnvironment = 2
InsertApcEnvironment = 3
