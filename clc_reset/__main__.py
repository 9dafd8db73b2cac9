"""The console script `clc`, and `python -m clc_reset`."""

import gc
import signal

GARBAGE_WORTH_LOOKING_FOR = 50_000
"""Objects; Python looks at every 700, which takes a twentieth of a short run and finds nothing."""


def main() -> None:
    """Run the command line and exit.

    Until it is loaded a Ctrl-C simply ends the process: there is nothing to tell yet.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(GARBAGE_WORTH_LOOKING_FOR)
    from clc_reset.cli.main import run  # noqa: PLC0415 - loading takes most of a short run

    run()


if __name__ == "__main__":
    main()
