"""The console script `clc`, and `python -m clc_reset`."""

import gc
import signal
import sys

GARBAGE = 700_000
"""Objects before Python looks for cycles: it would do so dozens of times while a command loads."""


def main() -> None:
    """Run the command line and exit.

    Until it is loaded, a Ctrl-C simply ends the process: there is nothing to report yet.
    """
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    gc.set_threshold(GARBAGE)
    from clc_reset.cli.main import run

    run()


if __name__ == "__main__":
    main()
