import os
import sys
from pathlib import Path

# One thread, as runs are trained: on a busy machine more are slower, and results do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
