"""Where the study's runs stand, read from their folders while jobs run."""

from tasktrace.status.page import Asked, show_status
from tasktrace.status.tally import BY

__all__ = ["BY", "Asked", "show_status"]
