"""The entry of the command ``sessionstreams``."""

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with its status."""
    try:
        from streams.commands import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("rich", "typer"):
            raise
        sys.stderr.write("sessionstreams: the command line needs: pip install 'sessionstreams[cli]'\n")
        sys.exit(2)
    # Being terminated gives the terminal back just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
