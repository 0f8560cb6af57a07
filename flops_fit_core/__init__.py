"""The minimal core of flops-fit: the values that flow, the stages, the hooks, the wiring.

It imports attrs, cattrs, pluggy, numpy and the standard library, and no plugin: every stage,
the default ones too, is found through entry points of the group ``flops_fit``.
"""

__version__ = "0.1.0"
