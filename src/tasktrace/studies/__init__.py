"""Small studies without a data set: one module each, with ``Options`` and ``run(out, options)``."""
