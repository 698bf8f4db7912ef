"""A session's id as the name of its file: one safe component, whatever the id holds."""

import re
from hashlib import sha256
from typing import Final

__all__ = ["file_stem"]

PLAIN: Final = re.compile(r"ses_[0-9A-Za-z]{1,60}|[a-z0-9][a-z0-9_-]{0,79}")
"""opencode's ids, and whatever is the same where a file system does not tell cases apart."""

RESERVED: Final = re.compile(r"con|prn|aux|nul|com\d|lpt\d")
"""Devices on Windows, under any extension."""


def file_stem(session_id: str) -> str:
    """The name without its extension; two ids never have the same (T13).

    An id that is not plain is cleaned and gets a hash after a dot, which no plain one has in it.
    """
    if PLAIN.fullmatch(session_id) and not RESERVED.fullmatch(session_id):
        return session_id
    readable = re.sub(r"[^a-z0-9]+", "_", session_id[:40].lower()).strip("_") or "session"
    digest = sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    return f"{readable}.{digest}"
