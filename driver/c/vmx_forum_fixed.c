/* vmx_forum.c put right: see FIXED there, and driver/eh_fixed.py. */
#define FIXED
#include "vmx_forum.c"
