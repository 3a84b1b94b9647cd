"""Exact solvers for the T x T problems that gradient methods pose, in float64 on the CPU.

Every solver takes the Gramian of the task gradients, works on the cosines between them (so that neither the common
scale nor the rows' own scales matter), checks the optimality conditions of what it found, and raises
:class:`SolverError` where they do not hold.
"""

from tasktrace.methods.solvers.cosines import SolverError

__all__ = ["SolverError"]
