"""What cannot be done, told in one line. Needs the extra ``cli``."""

from collections.abc import Generator
from contextlib import contextmanager

import typer

from streams.opencode import NotOpencode, OpencodeError, Unauthorized, Unreachable

__all__ = ["Refused", "advised", "one_line_errors"]


class Refused(typer.TyperException):
    """What was asked for cannot be done: the argument's fault, told in one line."""

    exit_code = 2


@contextmanager
def one_line_errors() -> Generator[None]:
    """A source that cannot be read, of whatever kind, or a wrong argument is told in one line."""
    try:
        yield
    except OpencodeError as error:  # before OSError: a time-out is both
        raise Refused(advised(error)) from None
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        raise Refused(f"{where}{error.strerror or error}") from None
    except ValueError as error:
        raise Refused(str(error)) from None


def advised(error: OpencodeError) -> str:
    """What went wrong with a server, and what to do about it, in one line."""
    match error:
        case Unreachable():
            return f"{error}; is opencode serve running? --wait keeps trying"
        case Unauthorized():
            return f"{error}: set OPENCODE_SERVER_PASSWORD"
        case NotOpencode():
            return f"no opencode server: {error}"
        case _:
            return str(error)
