"""The entry of the command ``sessionstreams``."""

import signal
import sys

from loguru import logger

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
    _log_in_lines()
    # Being terminated gives the terminal back just as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def _log_in_lines() -> None:
    """Warnings as lines of this program. The view takes ``sys.stderr``'s place while it is drawn."""
    logger.remove()
    logger.add(_write_line, level="WARNING", format="sessionstreams: {message}")


def _write_line(line: str) -> None:
    sys.stderr.write(line)


if __name__ == "__main__":
    main()
