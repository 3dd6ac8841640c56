"""Options described once: the form field, the command-line flag and the check follow from it.

An option is a dataclass field made by `option`. Whatever has options (`Spec`, the options of a method) is a
frozen dataclass that calls `check` in its `__post_init__`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from vpt_core.errors import UserError


@dataclass(frozen=True)
class Option:
    """What a person needs to know to set a value, and what a machine needs to check it."""

    label: str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None
    advanced: bool = False


def option(default: Any, label: str, help: str, **rest: Any) -> Any:
    """A dataclass field that carries its `Option`; `rest` are further fields of `Option`."""
    return field(default=default, metadata={"option": Option(label, help, **rest)})


def options_of(owner: Any) -> dict[str, tuple[Option, Any]]:
    """Name to (Option, default) for a dataclass or an instance of one, in order of definition."""
    return {f.name: (f.metadata["option"], f.default) for f in fields(owner) if "option" in f.metadata}


def flag(name: str) -> str:
    """The command-line flag of an option: `batch_size` becomes `--batch-size`."""
    return "--" + name.replace("_", "-")


def check(owner: Any) -> None:
    """Raise `UserError` for the first option of `owner` whose value has the wrong type, range or choice."""
    for name, (opt, default) in options_of(owner).items():
        value = getattr(owner, name)
        wanted = type(default)
        if wanted is float and type(value) is int:
            value = _float(value)
            object.__setattr__(owner, name, value)
        if type(value) is not wanted:
            raise UserError(f"{opt.label} is {value!r}; it has to be {_KINDS[wanted]}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{opt.label} is {value}; it has to be a finite number.")
        if opt.choices is not None and value not in opt.choices:
            raise UserError(f"{opt.label} is {value!r}; choose one of: {', '.join(map(str, opt.choices))}.")
        if (opt.low is not None and value < opt.low) or (opt.high is not None and value > opt.high):
            raise UserError(f"{opt.label} is {value}; it has to be {_range(opt)}.")


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:  # a number of more than 308 digits, as JSON allows
        return math.inf


_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _range(opt: Option) -> str:
    if opt.high is None:
        return f"at least {opt.low}"
    if opt.low is None:
        return f"at most {opt.high}"
    return f"from {opt.low} to {opt.high}"
