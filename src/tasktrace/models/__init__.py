"""The networks: one encoder per module, shared by the settings; heads on its features.

A model's module declares ``VERSION`` and ``Options`` (see :mod:`tasktrace.config.declarations`) and defines
``build_encoder(options: Options) -> tuple[nn.Module, int]``, an encoder and the width of its features. Heads are linear
unless it defines ``build_head(options: Options, width: int, task: Task) -> nn.Module`` as well.
"""

from tasktrace.models.multitask import MultiTaskModel, build_model

__all__ = ["MultiTaskModel", "build_model"]
