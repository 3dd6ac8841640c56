"""The command line's flags, from the options of `Spec` and of the methods. Tables are read on demand: they need torch."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

import vpt_core
from vpt_core.options import Option, flag, options_of
from vpt_core.spec import Spec


def table(what: str) -> dict[str, Any]:
    """The table of "tasks", "methods" or "backbones"."""
    return getattr(vpt_core, what.upper())


def add_flags(parser: argparse.ArgumentParser, left_out: Collection[str] = ()) -> None:
    """A flag for each option of `Spec`, but those `left_out`, and for each option of a method."""
    methods = table("methods").values()
    common = {name: pair for name, pair in options_of(Spec).items() if name not in left_out}
    _add(parser, common, {m.name: m.recipe for m in methods})
    own = {m.name: {name: default for name, (_, default) in options_of(m.Options).items()} for m in methods}
    _add(parser, _method_options(), own)


def given(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the command line says of the spec, and of the methods' options."""
    said = {name: value for name, value in vars(args).items() if value is not None}
    spec, methods = ({name: said[name] for name in known if name in said} for known in (options_of(Spec), _method_options()))
    return spec, methods


def _method_options() -> dict[str, tuple[Option, Any]]:
    """Options of all methods by name. Where methods share a name, the last one's words stand for all."""
    return {name: pair for method in table("methods").values() for name, pair in options_of(method.Options).items()}


def _add(
    parser: argparse.ArgumentParser, options: dict[str, tuple[Option, Any]], by_method: dict[str, dict[str, Any]]
) -> None:
    """A flag for each option, whose help names the default and the methods that have another one (`by_method`)."""
    for name, (opt, default) in options.items():
        others = [f", {method}: {own[name]}" for method, own in by_method.items() if own.get(name, default) != default]
        text = f"{opt.help} (default: {default}{''.join(others)})"
        help = text.replace("%", "%%")
        if isinstance(default, bool):
            parser.add_argument(flag(name), action=argparse.BooleanOptionalAction, default=None, help=help)
        else:
            parser.add_argument(flag(name), type=type(default), metavar=name.upper(), help=help)
