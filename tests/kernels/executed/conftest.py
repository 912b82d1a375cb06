"""Only a process whose GPU is made of numpy collects these files: test_triton_executed.py starts it."""

import sys

collect_ignore_glob = [] if "helpers.sm90.plugin" in sys.modules else ["test_*.py"]
