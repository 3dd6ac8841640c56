"""Save: take a run away, as a prompt file, as a zip of its folder, and as Python that uses it."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from app.components import stat_cards
from app.downloads import new_folder
from app.events import LATEST, QUIET, when
from app.messages import shows_user_errors
from app.page import Page
from app.results import find_seed
from app.tabs import load, report
from app.verdict import labels
from vpt_core.errors import UserError
from vpt_core.hub import push_prompt
from vpt_core.run_zip import pack_run
from vpt_core.runs import Run

_SNIPPET = """import vpt_core

classifier = vpt_core.load_prompt("{file}")
photos = ["photo.jpg"]
for photo, shares in zip(photos, classifier.predict(photos)):
    best = shares.argmax()
    print(photo, classifier.classes[best], f"{{shares[best]:.0%}}")

# The backbone ({backbone}) is loaded once, frozen, and shared by every prompt file.
# In a folder without vpt_core: pip install -e PATH_OF_THIS_REPOSITORY"""


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the tab."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            run = gr.Radio([], label="Which run", elem_id="save-run")
            facts = stat_cards(empty="No run to save yet. Tune one first.", elem_id="save-facts")
            prompt = gr.DownloadButton(
                "Download the prompt file",
                variant="primary",
                elem_classes=["primary-action"],
                elem_id="save-prompt",
                interactive=False,
            )
            folder = gr.DownloadButton("Download the whole run (zip)", elem_id="save-zip", interactive=False)
            report.build(page, run)
            gr.Markdown(
                "The prompt file holds the prompts, the classifier and what they were tuned on, and nothing else: no image, "
                "no backbone, no code. It is a safetensors file. The zip has the learning curve, test results and a model card "
                "too. The report is one page to read, print or send: numbers, charts, and a few test images looked into.",
                elem_classes=["note"],
            )
        with gr.Column(scale=3, min_width=320):
            code = gr.Code(language="python", label="Python that uses it", interactive=False, elem_id="save-code")
            _build_hub(page, run)
            load.build(page)
    shown = [facts, prompt, folder, code]
    when([tab.select, page.result.change], offer, page.result, run).then(pack, [page.result, run], shown, **LATEST)
    run.input(pack, [page.result, run], shown, **LATEST)


def _build_hub(page: Page, run: gr.Radio) -> None:
    with gr.Accordion("Push to the Hugging Face Hub", open=False, elem_id="save-hub"):
        repository = gr.Textbox(
            label="Repository", placeholder="your-name/flowers-vpt", max_length=100, elem_id="save-repository"
        )
        token = gr.Textbox(
            label="Token with write access",
            info="Used for this push only, then forgotten.",
            type="password",
            html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
            max_length=2000,
            elem_id="save-token",
        )
        private = gr.Checkbox(label="Private: only you can see it", elem_id="save-private")
        button = gr.Button("Push the prompt file and a model card", elem_id="save-push")
        pushed = gr.Markdown(visible=False, elem_classes=["note"], elem_id="save-pushed")
    inputs = [page.result, run, repository, token, private]
    pushing = button.click(push, inputs, pushed, api_visibility="private", concurrency_limit=2)
    for ended in (pushing.success, pushing.failure):  # `then` does not follow an error
        ended(lambda: "", None, token, **QUIET)


def offer(key: str | None) -> gr.Radio:
    """The runs of the result; the last one is chosen."""
    result = find_seed(key)
    runs = result.runs if result else ()
    names = labels(result) if result else []
    return gr.Radio([(name, run.name) for name, run in zip(names, runs, strict=True)], value=runs[-1].name if runs else None)


@shows_user_errors
def pack(key: str | None, name: str | None) -> list[Any]:
    """Cards, files and code for one run."""
    run = _chosen(key, name)
    if run is None:
        return [None, gr.DownloadButton(interactive=False), gr.DownloadButton(interactive=False), ""]
    prompt, whole = copies(run.folder)
    return [
        facts_of(run),
        gr.DownloadButton(
            f"Download the prompt file ({prompt.stat().st_size / 1000:,.0f} kB)", value=str(prompt), interactive=True
        ),
        gr.DownloadButton(value=str(whole), interactive=True),
        _SNIPPET.format(file=prompt.name, backbone=run.spec.backbone),
    ]


def _chosen(key: str | None, name: str | None) -> Run | None:
    result = find_seed(key)
    return next((run for run in result.runs if run.name == name), None) if result else None


@shows_user_errors
def push(key: str | None, name: str | None, repository: str, token: str, private: bool) -> gr.Markdown:
    """The address of what was pushed. Only ever with the visitor's own token: the server may have one of its own."""
    run = _chosen(key, name)
    if run is None:
        raise UserError("There is no run to push. Tune one first.")
    if not token.strip():
        raise UserError("Paste a token with write access; your account's settings at the Hub make one.")
    address = push_prompt(run.prompt_file, repository.strip(), token, private)
    return gr.Markdown(f"Pushed: <{address}>", visible=True)


def facts_of(run: Run) -> list[dict[str, str]]:
    """How small it is, next to the backbone it goes on."""
    status = run.status
    backbone = 4 * status["backbone_parameters"]
    return [
        {
            "title": "Prompt file",
            "big": f"{status['file_bytes'] / 1000:,.0f} kB",
            "tone": "accent",
            "small": f"{status['trained']:,} numbers; the frozen backbone has {backbone / 1e6:.0f} MB, "
            f"{backbone / status['file_bytes']:,.0f} times that",
        },
    ]


@lru_cache(maxsize=64)
def copies(folder: Path) -> tuple[Path, Path]:
    """The prompt file and a zip of a run's folder, under names that say what they are, in a folder of their own."""
    run = Run(folder)
    if not run.prompt_file.is_file():
        raise UserError("This run's prompt file is not there any more.")
    target = new_folder()
    label = re.sub(r"[^\w-]+", "-", f"{run.status['task_title']}-{run.spec.method}").strip("-").lower()
    prompt, whole = target / f"{label}.safetensors", target / f"{label}-run.zip"
    prompt.write_bytes(run.prompt_file.read_bytes())
    pack_run(run, whole)
    return prompt, whole
