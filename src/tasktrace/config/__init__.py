"""What the study is: configuration read, checked and turned into runs, without importing torch."""

from tasktrace.config.study import Arm, Run, Study

__all__ = ["Arm", "Run", "Study"]
