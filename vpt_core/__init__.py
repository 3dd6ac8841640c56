"""Visual prompt tuning of frozen vision transformers (Jia et al., ECCV 2022, arXiv 2203.12119).

    Spec            everything asked of a run
    tune            do it: a generator-free shortcut that returns the finished Run
    resume          go on with a run that was broken off, to the result that it would have had
    compare         finished runs of several methods side by side, and whether prompting is worth it
    Run, list_runs  what happened, read from a folder
    load_task       a built-in task, a folder or a zip of class folders
    Task            named classes and the pixels, labels and splits of their images
    load_backbone   a frozen backbone as a list of stages
    Model           backbone + method + head, a torch module
    load_prompt     a classifier from a prompt file
    load_prompts    many tasks on one backbone, a batch of all of them in one pass
    Many            what load_prompts gives: add, remove, logits, answer
    write_report    a run with its pictures as one HTML file
    push_prompt     put a prompt file on the Hugging Face hub, with a model card
    pull_prompt     fetch one from there
    TASKS, METHODS, BACKBONES   the tables of choices
    UserError       an error meant for people

Names are imported on first use: reading a data set needs no torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "Spec": "spec",
    "tune": "execute",
    "resume": "execute",
    "compare": "comparison",
    "Run": "runs",
    "list_runs": "runs",
    "load_task": "tasks",
    "Task": "tasks",
    "TASKS": "tasks",
    "load_backbone": "backbones",
    "BACKBONES": "backbones",
    "METHODS": "methods",
    "Model": "model",
    "load_prompt": "prompt_file",
    "load_prompts": "many",
    "Many": "many",
    "write_report": "report",
    "push_prompt": "hub",
    "pull_prompt": "hub",
    "UserError": "errors",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'vpt_core' has no attribute {name!r}")
    return getattr(import_module(f"vpt_core.{_HOME[name]}"), name)
