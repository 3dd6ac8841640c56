"""The command line: `python -m vpt_core`. What each command does is in `vpt_core.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from vpt_core import __version__, commands
from vpt_core.errors import UserError
from vpt_core.flags import add_flags

# Before torch is loaded: threads that wait for each other sleep instead of spinning (see app.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TABLES = ("tasks", "methods", "backbones")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 when what was asked cannot be done, or 130 when Ctrl-C broke it off."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser(arguments[:1] in (["tune"], ["compare"])).parse_args(arguments)
    try:
        return args.run(args)
    except UserError as error:
        print(f"vpt_core: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as broken:
        print(f"vpt_core: {broken or 'Broken off.'}", file=sys.stderr)
        return 130


def _parser(with_methods: bool) -> argparse.ArgumentParser:
    about = "Visual prompt tuning of frozen vision transformers."
    parser = argparse.ArgumentParser(prog="python -m vpt_core", description=about)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_command(subparsers, commands.list_, "names of what can be chosen, one a line").add_argument("what", choices=TABLES)
    checking = _add_command(subparsers, commands.check, "read a data set and report on it; exit code 2 when it is refused")
    checking.add_argument("source", metavar="SOURCE", help="a folder, zip, tar or tar.gz, or hub:NAME")
    checking.add_argument("--page", action="store_true", help="with the limits of an upload to the page, not of this command")
    checking.add_argument("--json", action="store_true", help="the report as JSON")
    tuning = _add_command(
        subparsers, commands.tune, "tune a method on a task; prints the run's folder last; Ctrl-C keeps the best"
    )
    comparing = _add_command(
        subparsers, commands.compare, "tune several methods on one task, or name runs: which is best, is prompting worth it"
    )
    comparing.add_argument("folders", metavar="RUN", nargs="*", help="finished runs, instead of all flags but --json")
    comparing.add_argument("--methods", nargs="+", metavar="METHOD", help=f"(default: {' '.join(commands.COMPARED)})")
    comparing.add_argument("--seeds", type=int, metavar="SEEDS", help="how many, from --seed on (default: 1)")
    comparing.add_argument("--anew", action="store_true", help="tune all of it again (default: runs of the same are used and "
                           "broken ones gone on with)")
    comparing.add_argument("--json", action="store_true", help="the comparison as JSON; lines on the runs go to stderr")
    for command, left_out in ((tuning, ()), (comparing, ("method",))):
        command.add_argument("--runs", default="runs", metavar="FOLDER", help="where run folders are kept (default: runs)")
        if with_methods:
            add_flags(command, left_out)
    resuming = _add_command(subparsers, commands.resume, "go on with a run that was broken off, from its last checkpoint")
    resuming.add_argument("folder", metavar="RUN")
    unpacking = _add_command(subparsers, commands.unpack, "take in a run that was saved as a zip; prints its new folder")
    unpacking.add_argument("zip", metavar="RUN.zip")
    unpacking.add_argument("--runs", default="runs", metavar="FOLDER", help="where run folders are kept (default: runs)")
    showing = _add_command(subparsers, commands.show, "what was asked of a run and what came out")
    showing.add_argument("folder", metavar="RUN")
    showing.add_argument("--json", action="store_true")
    reporting = _add_command(subparsers, commands.report, "write a run with its pictures as one HTML file; prints its path")
    reporting.add_argument("folder", metavar="RUN")
    reporting.add_argument("file", metavar="FILE.html")
    counting = _add_command(
        subparsers, commands.ledger, "what tasks cost on one backbone: the paper's 24, or the tasks of given runs"
    )
    counting.add_argument("runs", metavar="RUN", nargs="*", help="folders of finished runs (default: the paper's tasks)")
    counting.add_argument("--json", action="store_true")
    predicting = _add_command(subparsers, commands.predict, "classify images with a run or a prompt file")
    predicting.add_argument("run_folder", metavar="RUN", help="a run's folder or a prompt file")
    predicting.add_argument("images", metavar="IMAGE", nargs="+")
    answering = _add_command(subparsers, commands.answer, "what many tasks on one backbone say of one image, in one pass")
    answering.add_argument("image", metavar="IMAGE")
    answering.add_argument("run_folders", metavar="RUN", nargs="+", help="runs' folders or prompt files of one backbone")
    _add_hub_commands(subparsers)
    return parser


def _add_hub_commands(subparsers: Any) -> None:
    pushing = _add_command(subparsers, commands.push, "put a prompt file on the Hugging Face hub; prints its address")
    pushing.add_argument("run_folder", metavar="RUN", help="a run's folder or a prompt file")
    pushing.add_argument("repository", metavar="NAME/REPO", help="made when missing; the token is HF_TOKEN or the hub's login")
    pushing.add_argument("--private", action="store_true", help="make a private repository")
    pulling = _add_command(subparsers, commands.pull, "fetch a prompt file from the Hugging Face hub; prints its path")
    pulling.add_argument("repository", metavar="NAME/REPO")
    pulling.add_argument("--revision", help="a branch, tag or commit (default: the main branch)")
    pulling.add_argument("--to", metavar="FILE", help="copy it here (default: it stays in the hub's cache)")


def _add_command(subparsers: Any, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(run.__name__.rstrip("_"), help=help, description=help)
    parser.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
