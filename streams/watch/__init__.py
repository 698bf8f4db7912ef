"""Watching a source: what ``sessionstreams watch`` derives from it, and how it shows that."""
