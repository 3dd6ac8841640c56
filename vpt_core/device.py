"""Where models are tuned: on the processor, or on a GPU if the environment variable VPT_DEVICE names one."""

from __future__ import annotations

import os

import torch

from vpt_core.errors import UserError

CPU = torch.device("cpu")


def device() -> torch.device:
    """The device that VPT_DEVICE names, such as cuda or cuda:1; the processor without it.

    Raises `UserError` for what is no device or is not there. What was tuned is read, looked into and asked on the processor.
    """
    name = os.environ.get("VPT_DEVICE", "cpu")
    try:
        found = torch.device(name)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:  # a torch built without CUDA asserts
        raise UserError(f"VPT_DEVICE is {name!r}, and torch cannot use that here. Set it to cpu, or to cuda where there is a "
                        "GPU that torch sees.") from error
    return found
