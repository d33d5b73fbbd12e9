"""The command `overlapped`, and `python -m overlapped`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Runs the command with the arguments of this process, and returns its exit code."""
    from ._overlapped import main as run

    # The program handles signals by itself, as it does without an interpreter.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
