"""A small package for the book on the information bottleneck; one module per idea."""

import os

# Threads that wait by spinning slow a busy machine tenfold. Read when torch is first imported, by
# this process or by a kernel that it starts.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
