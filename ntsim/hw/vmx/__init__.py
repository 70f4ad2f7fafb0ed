"""Intel VT-x of a logical processor.

In: VMX instructions as method calls on a `VmxUnit`, physical addresses as operands, the processor
and memory through the protocols of `protocols.py`. Out: results with SDM's failure codes, the
guest's and the host's state loaded into the processor, exit information in the VMCS, and events to
an observer. Nothing here knows of an operating system. Read the SDM 3 chapters "Virtual-Machine
Control Structures", "VM Entries", "VM Exits" and "VMX Instruction Reference" beside it.
"""
