"""`python -m singleshot` is `singleshot`."""

from singleshot.cli.main import run

if __name__ == "__main__":
    run()
