"""What the study is: configuration read, checked and turned into runs, without importing torch."""

from tasktrace.config.arms import Arm, Run
from tasktrace.config.study import Study

__all__ = ["Arm", "Run", "Study"]
