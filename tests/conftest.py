import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

# One thread, as runs are trained: on a busy machine more are slower, and results do not depend on the machine.
torch.set_num_threads(1)
