"""Follow every task's optimisation trajectory, alone and together.

The package is imported by the workflow's own process and by the figures, so nothing at this level may import
torch; the modules that need it (``models``, ``methods``, ``training``) are imported by the verbs that use them.
"""

__version__ = "0.1.0"
