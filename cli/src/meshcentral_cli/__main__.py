"""The entry point of `mesh`, and of `python -m meshcentral_cli`.

Nothing is imported before the guard: an interrupt during the imports, which take longer than anything else, must end
the program as quietly as a later one.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130


def run() -> None:
    """Run the command line of this process; ends with its exit code."""
    try:
        from meshcentral_cli.main import run as run_command_line

        run_command_line()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    run()
