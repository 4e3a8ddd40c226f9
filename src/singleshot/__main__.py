"""`python -m singleshot` is `singleshot`."""

import sys

from singleshot.cli.main import run

if __name__ == "__main__":
    sys.argv[0] = "singleshot"  # what runs and reports say they were made by can be typed again
    run()
