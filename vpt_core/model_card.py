"""The model card of a prompt file: README.md on the Hugging Face hub, written from what the file says of itself."""

from __future__ import annotations

import re
from typing import Any

from huggingface_hub import ModelCardData
from timm import get_pretrained_cfg

from vpt_core.backbones import Card, card
from vpt_core.methods import METHODS
from vpt_core.metrics import Score
from vpt_core.prompt_file import About
from vpt_core.tasks.names import clean_name, shorten

LIBRARY = "vpt_core"
MOST_CLASSES = 100  # names that a card lists

_TEXT = """\
# {task}: {title} on {backbone_title}

`tuned.safetensors`, {kilobytes:,.0f} kB, holds what this method learned on a pretrained backbone, with the classifier. It is a
prompt file of VPT Studio, made for [visual prompt tuning](https://arxiv.org/abs/2203.12119) and the methods it is compared
with. What stayed frozen is not in it, and neither is any image or code.

- Backbone: {backbone_title}, {backbone}, weights {weights_hash}
- Method: {title}, {method}{options}
- Images: {image_size} pixels a side{prepared}
- Test: {tested}
- Seed {seed}, {library}
- {count} classes: {classes}

## How to use it

```python
import vpt_core

classifier = vpt_core.load_prompt(vpt_core.pull_prompt("{repo_id}"))
print(classifier.classes, classifier.predict(["photo.jpg"]))
```

The backbone is loaded once, frozen, and shared by every prompt file that was tuned on it. Other weights of it are refused.

## What it cannot do

- It answers with one of its classes whatever the picture shows, and on pictures unlike those it was tuned on it can be far
  worse than the test says. The interval covers the chance of drawing these test images, not another seed, camera or place.
- Names and numbers above are what the file says of itself; nobody has reviewed them. It has not been checked for fairness or
  safety: do not let it decide about people.
- The backbone and the images that it was tuned on have licences of their own.
"""


def model_card(about: About, file_bytes: int, repo_id: str = "name/repo") -> str:
    """Markdown with YAML front matter that describes a prompt file of `file_bytes` bytes, to be pulled from `repo_id`.

    Whatever a stranger may have written (task, classes, options) stands in code spans, where Markdown and HTML mean
    nothing, and not in the YAML. Raises `UserError` for a backbone or method that is not known here.
    """
    found, method = card(about.backbone), METHODS[about.method]
    data = ModelCardData(
        base_model=_repository(found),
        library_name=LIBRARY,
        pipeline_tag="image-classification",
        tags=["visual-prompt-tuning", method.name],
    )
    score = _score(about.metrics)
    text = _TEXT.format(
        task=_code(about.task), title=method.title, backbone_title=found.title, kilobytes=file_bytes / 1000,
        backbone=_code(about.backbone), weights_hash=_code(about.weights_hash), method=_code(method.name),
        options=_listed(about.options), image_size=about.image_size, prepared=_listed(about.preprocessing),
        tested=score if score else "the file does not say", seed=about.seed, library=_code(f"{LIBRARY} {about.library}"),
        count=len(about.classes), classes=_names(about.classes), repo_id=repo_id,
    )  # fmt: skip
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _listed(values: dict[str, Any]) -> str:
    return "".join(f", {_code(f'{name} = {value}')}" for name, value in values.items())


def _repository(found: Card) -> str | None:
    """Where the hub has the backbone's weights; None for bundled and random ones, and those of a file."""
    config = None if found.bundled or found.random or found.source else get_pretrained_cfg(found.timm)
    return config.hf_hub_id or None if config else None


def _score(metrics: dict[str, Any]) -> Score | None:
    """The test result in a file's metrics, which loading does not check; None unless it is one."""
    test = metrics.get("test")
    if not isinstance(test, dict) or test.keys() != {"correct", "total"} or not all(type(n) is int for n in test.values()):
        return None
    return Score(**test) if 0 <= test["correct"] <= test["total"] else None


def _names(classes: list[str]) -> str:
    more = len(classes) - MOST_CLASSES
    return ", ".join(map(_code, classes[:MOST_CLASSES])) + (f" and {more:,} more" if more > 0 else "")


def _code(text: str) -> str:
    """`text` on one line as a Markdown code span, fenced by more backticks than it has in a row itself."""
    line = shorten(clean_name(text))
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"
