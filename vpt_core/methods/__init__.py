"""The ways to adapt a frozen backbone: one class and one row each."""

from vpt_core.methods.base import METHODS, Linear, Options
from vpt_core.methods.frame import Frame
from vpt_core.methods.head import Mlp
from vpt_core.methods.insert import Adapter, Lora
from vpt_core.methods.prompt import Deep, Prompted, Shallow
from vpt_core.methods.release import Bias, Full, Partial
from vpt_core.methods.side import Sidetune

_ROWS = (Linear, Mlp, Partial, Bias, Adapter, Lora, Sidetune, Full, Frame, Shallow, Deep)
METHODS.update({method.name: method for method in _ROWS})

__all__ = ["METHODS", "Frame", "Linear", "Options", "Prompted"]
