"""The prompt file: what a run learned, in one safetensors file that describes itself."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vpt_core.backbones import Backbone, load_backbone, names_file, to_pixels, without_folder
from vpt_core.embed import EVAL_BATCH
from vpt_core.errors import UserError
from vpt_core.files import write_whole
from vpt_core.metrics import softmax
from vpt_core.model import Model
from vpt_core.spec import Spec
from vpt_core.tasks import STORE_SIZE, load_image, resize
from vpt_core.tasks.names import clean_name
from vpt_core.tensor_header import Shape, read_header

FORMAT = 1
MAX_BYTES = 512 * 1024**2
MAX_TEXT, MAX_NAME = 4_000_000, 200  # characters of the description, and of one name in it
_KEY = "visual_prompt_tuning"


@dataclass(frozen=True)
class About:
    """What a prompt file says of itself."""

    backbone: str
    weights_hash: str
    method: str
    options: dict[str, Any]
    classes: list[str]
    image_size: int
    task: str
    seed: int
    library: str
    metrics: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    preprocessing: dict[str, Any] = field(default_factory=dict)
    """What `preprocessing` gives; empty in files from before it was recorded."""


def preprocessing(backbone: Backbone, image_size: int) -> dict[str, Any]:
    """How a photo comes to the pixels that `backbone` takes in, for whoever has to do it elsewhere.

    squash   sides in pixels of the squares that it is resized to, one after the other, whatever its proportions
    filter   of resizing, with antialiasing
    mean     and std: of each colour, R, G and B from 0 to 1; pixels are less the mean, over the deviation
    """
    mean, std = (part.flatten().tolist() for part in (backbone.mean, backbone.std))
    return {"squash": [STORE_SIZE, image_size], "filter": "bicubic", "mean": mean, "std": std}


class Classifier:
    """A frozen backbone with one prompt file on it."""

    def __init__(self, model: Model, about: About) -> None:
        self.model = model.eval()
        self.about = about
        self.classes = tuple(about.classes)

    @torch.no_grad()
    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Logits (N, classes) float32 of square uint8 images (N, S, S, 3), brought to the model's image size."""
        pixels = resize(pixels, self.about.image_size)
        parts = [self.model(to_pixels(pixels[i : i + EVAL_BATCH])).numpy() for i in range(0, len(pixels), EVAL_BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), np.float32)

    def predict(self, images: list[str | Path | bytes]) -> np.ndarray:
        """Probabilities (N, classes) of image files or their bytes. Raises `UserError` for what is not an image."""
        pixels = [load_image(image if isinstance(image, bytes) else Path(image)) for image in images]
        return softmax(self.logits(np.stack(pixels) if pixels else np.empty((0, STORE_SIZE, STORE_SIZE, 3), np.uint8)))


def save_prompt(path: Path, model: Model, about: About, learned: dict[str, Tensor] | None = None) -> None:
    """Write what `model` learned and `about` to `path`, whole or not at all.

    `learned`: a `state_dict` of an earlier moment, instead of what the model holds now.
    """
    tensors = {name: t.detach().contiguous() for name, t in (learned or model.state_dict()).items()}
    write_whole(path, save(tensors, {_KEY: json.dumps(asdict(about))}))


def load_prompt(path: str | Path, backbone: Backbone | None = None) -> Classifier:
    """The classifier in a prompt file, on `backbone` or on the shared frozen copy of the one it was tuned on.

    Names, kinds and shapes are held against the model before a tensor is read. Raises `UserError` when the file is damaged,
    too large, not a prompt file, or made for other weights, and when a file without its run names a file of weights.
    """
    path = Path(path)
    about, shapes = _read(path)
    backbone = backbone or load_backbone(_named_backbone(path, about))
    if backbone.weights_hash != about.weights_hash:
        raise UserError(
            f"{path.name} was tuned on other weights, of {about.backbone} (hash {about.weights_hash[:12]}); here is "
            f"{backbone.title} (hash {backbone.weights_hash[:12]}). Load the backbone it was tuned on."
        )
    backbone.check_size(about.image_size)
    here = preprocessing(backbone, about.image_size)
    if about.preprocessing not in ({}, here):
        raise UserError(f"{path.name} was tuned on images prepared as {str(about.preprocessing)[:200]}; here they are prepared "
                        f"as {here}. Use it with the library that made it ({about.library}).")
    # Before the model is built: a description may not ask for more memory than the file itself takes.
    if "head.bias" not in shapes or math.prod(shapes["head.bias"].sizes) != len(about.classes):
        raise UserError(f"{path.name} names {len(about.classes)} classes, and has no head for so many.")
    model = Model(backbone, about.method, about.options, len(about.classes), about.seed, about.image_size)
    _fit_or_refuse(path.name, model, shapes)
    model.load_state_dict(_tensors(path))
    return Classifier(model, about)


def read_about(path: Path) -> About:
    """What a prompt file says of itself, without its backbone. Raises `UserError` when it is not a prompt file."""
    return _read(path)[0]


def _read(path: Path) -> tuple[About, dict[str, Shape]]:
    if not path.is_file():
        raise UserError(f"There is no file {path.name!r} here.")
    if path.stat().st_size > MAX_BYTES:
        megabytes = path.stat().st_size / 1e6
        raise UserError(f"{path.name} has {megabytes:.0f} MB; a prompt file has {MAX_BYTES / 1e6:.0f} MB at most.")
    texts, shapes = read_header(path)
    if _KEY not in texts:
        raise UserError(f"{path.name} is a safetensors file, but not a prompt file: it does not say what it was tuned on.")
    return _about(path.name, texts[_KEY]), shapes


def _named_backbone(path: Path, about: About) -> str:
    """The backbone that a file names. A path to weights is a run's to give, in its spec; a lone file may be a stranger's."""
    if not names_file(about.backbone):
        return about.backbone
    of_run = _backbone_of_run(path.parent)
    if about.backbone == without_folder(of_run):
        return of_run
    raise UserError(f"{path.name} asks for weights in a file of this computer, {about.backbone!r}. If you trust it, give the "
                    "backbone: load_prompt(file, load_backbone(name)).")


def _backbone_of_run(folder: Path) -> str:
    """The backbone that the run in `folder` asked for; empty where there is no run."""
    try:
        return Spec.from_json(json.loads((folder / "spec.json").read_bytes())).backbone
    except (OSError, ValueError, TypeError):
        return ""


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file whose header is good. Raises `UserError` for numbers that are not finite."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path.name} is not a valid safetensors file ({error}).") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{path.name} holds numbers in {name} that are not finite; it cannot be used.")
    return tensors


def _about(name: str, text: str) -> About:
    if len(text) > MAX_TEXT:
        raise UserError(f"{name} has a description of {len(text):,} characters; {MAX_TEXT:,} are allowed at most.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} has a description that cannot be read ({error}).") from error
    types = {"str": str, "int": int, "dict[str, Any]": dict, "list[str]": list}
    wanted = {f.name: types[str(f.type)] for f in fields(About)}
    if isinstance(data, dict):
        data.setdefault("preprocessing", {})
    if not isinstance(data, dict) or set(data) != set(wanted):
        raise UserError(f"{name} has a description that is not a prompt file's: it needs {', '.join(wanted)}.")
    for key, kind in wanted.items():
        if type(data[key]) is not kind:
            raise UserError(f"{name} describes {key} as {str(data[key])[:80]!r}; it has to be of type {kind.__name__}.")
    if data["format"] != FORMAT:
        raise UserError(f"{name} has format {data['format']}; this version reads format {FORMAT}.")
    if len(data["classes"]) < 2 or not all(isinstance(c, str) for c in data["classes"]):
        raise UserError(f"{name} has to name two classes or more.")
    options = data["options"]
    if not all(isinstance(value, str | int | float) for value in options.values()):
        raise UserError(f"{name} has options that are neither numbers nor texts.")
    longest = max(len(v) for v in (*data.values(), *data["classes"], *options, *options.values()) if isinstance(v, str))
    if longest > MAX_NAME:
        raise UserError(f"{name} holds a name of {longest:,} characters; {MAX_NAME} are allowed at most.")
    Spec(image_size=data["image_size"], seed=data["seed"])  # the same bounds as in training
    shown = {"task": clean_name(data["task"]), "classes": [clean_name(c) for c in data["classes"]]}
    return About(**data | shown)


def _fit_or_refuse(name: str, model: Model, shapes: dict[str, Shape]) -> None:
    wanted = {key: str(Shape(str(t.dtype).removeprefix("torch."), tuple(t.shape))) for key, t in model.state_dict().items()}
    if set(wanted) != set(shapes):
        held = ", ".join(sorted(shapes))
        raise UserError(f"{name} holds {held[:200]}; {model.method.title} needs {', '.join(sorted(wanted))}.")
    for key, shape in shapes.items():
        if str(shape) != wanted[key]:
            raise UserError(f"{name} holds {key} as {shape}; this model needs {wanted[key]}.")
