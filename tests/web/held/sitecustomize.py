"""Workers, those that look at plugins too, begin when the file HELD_UNTIL is there."""

import os
import sys
import time
from pathlib import Path

if "latentloom.api.worker" in sys.orig_argv:
    while not Path(os.environ["HELD_UNTIL"]).exists():
        time.sleep(0.05)
