"""The ways to adapt a frozen backbone: one class and one row each."""

from vpt_core.methods.base import Linear, Options
from vpt_core.methods.prompt import Deep, Prompted, Shallow
from vpt_core.table import Table

METHODS: Table[type[Linear]] = Table("method", {method.name: method for method in (Linear, Shallow, Deep)})

__all__ = ["METHODS", "Linear", "Options", "Prompted"]
