"""A recording as one page to read: sessions, context windows, tasks, tools, and what went wrong."""

from streams.report.findings import Findings, gather
from streams.report.page import page

__all__ = ["Findings", "gather", "page"]
