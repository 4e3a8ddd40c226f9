from __future__ import annotations

import subprocess
import sys


def test_the_child_needs_no_pytorch() -> None:
    script = "import sys, singleshot.prediction.image_child, singleshot.images; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
