from __future__ import annotations

import os

# Several processes of a test share two cores; threads that spin for each other would slow all of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
