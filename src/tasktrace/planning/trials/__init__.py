"""Short trials of work, in a process of its own: ``python -m tasktrace.planning.trials``."""
