"""The machine: records, storage contract, restart, executors and the command line. It knows no concrete stage."""

import os

from pipeline.core.processor import set_thread_defaults

# Arrow's own allocator keeps much of what a table took; the C library's gives it back when it is asked
# (``pipeline.core.release_memory``). Arrow reads this when it is first imported, and OpenMP its variables when torch is.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
set_thread_defaults()
