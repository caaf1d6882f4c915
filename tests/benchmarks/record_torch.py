"""Records PyTorch's training losses for `test_twins.py`: `pip install torch`, then run this."""

import json
from pathlib import Path

from benchmarks import twins

STEPS = 120

if __name__ == "__main__":
    found = {
        name: twins.torch_losses(twins.torch_scheduler(name), STEPS).tolist()
        for name in ("OneCycleLR", "ReduceLROnPlateau")
    }
    (Path(__file__).parent / "torch_losses.json").write_text(json.dumps(found))
