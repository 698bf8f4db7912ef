"""For Jupyter: values as plots, and streams as cells that update in place. Needs ``[notebook]``."""

from streams.notebook.live import Live, live
from streams.notebook.plots import plot_tasks, plot_triggers, plot_usage

__all__ = ["Live", "live", "plot_tasks", "plot_triggers", "plot_usage"]
