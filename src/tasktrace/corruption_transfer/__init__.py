"""Study B's corruption transfer: do the features of tasks trained together bear corrupted pictures better?

The backbones of finished runs are frozen, their heads are fitted to corrupted training data, and both are tested on
every corruption at every severity (paper B, appendix A6).
"""
