"""Weights: a safetensors file from the assets, from a path or from the hub, into a timm model. Pickle is never read."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vpt_core.backbones.cards import BACKBONES, Card
from vpt_core.backbones.timm_models import filtered
from vpt_core.errors import UserError

FILE = "model.safetensors"
_CONNECT_SECONDS = 5.0


def cached(repo: str) -> Path | None:
    """The weight file of a hub repository in the local cache, or None. Asks no network."""
    path = try_to_load_from_cache(repo, FILE)
    return Path(path) if isinstance(path, str) else None


def download(repo: str, card: Card) -> Path:
    """The weight file of a hub repository, from the cache or else from `HF_ENDPOINT`.

    Raises `UserError` within seconds when the hub cannot be reached or does not have the file.
    """
    path = cached(repo)
    if path is not None:
        return path
    try:
        # One look without retries first: the download itself would wait out five of them on a dead network.
        get_hf_file_metadata(hf_hub_url(repo, FILE), timeout=_CONNECT_SECONDS)
        return Path(hf_hub_download(repo, FILE, etag_timeout=_CONNECT_SECONDS))
    except (OSError, HTTPError, RuntimeError) as error:  # RuntimeError: the hub's native transfer library
        raise UserError(f"{_failure(error, repo, card)} The backbone {next(iter(BACKBONES))!r} needs no download.") from None


def _failure(error: Exception, repo: str, card: Card) -> str:
    file = f"The weights of {card.title} ({card.download_mb} MB, {repo})"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{file} are not on this machine, and HF_HUB_OFFLINE forbids downloading them. Unset it and start again."
    if isinstance(error, RemoteEntryNotFoundError | RepositoryNotFoundError):
        return (f"{file} are not public at {constants.ENDPOINT} as {FILE}, the only format that is read. "
                "Choose another backbone.")
    status = f"HTTP {error.response.status_code}" if isinstance(error, HfHubHTTPError) else ""
    reason = status or str(error).partition("\n")[0] or type(error).__name__
    return (f"{file} could not be downloaded from {constants.ENDPOINT} ({reason}). Check the network; where "
            "the hub is blocked, set HF_ENDPOINT to a mirror (for example https://hf-mirror.com) and start again.")


def read(path: Path) -> dict[str, Tensor]:
    """Names to tensors of a safetensors file. Raises `UserError` when there is none, or it is damaged."""
    if not path.is_file():
        raise UserError(f"The weight file {path.name} is missing; it should be at {path}.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}). Remove it and get it again.") from None


def fill(net: nn.Module, tensors: dict[str, Tensor], card: Card, origin: str) -> None:
    """Copy `tensors` (names of timm, or of the publications it converts from) into `net`, each in float32.

    A classifier is left out. Where `card.pool` replaced the read-out, the norm after pooling starts as the identity
    instead of the norm before it. Raises `UserError` when any other tensor is missing, left over or of another shape.
    """
    tensors = filtered(net, tensors)
    wanted = net.state_dict()
    if card.pool and "fc_norm.weight" not in tensors:
        net.fc_norm.reset_parameters()
        tensors = {name: t for name, t in tensors.items() if not name.startswith("norm.")}
        wanted = {name: t for name, t in wanted.items() if not name.startswith("fc_norm.")}
    # A counter of batch norm that only training reads; older files lack it.
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    names = (wanted.keys() | tensors.keys()) - optional
    wrong = sorted(name for name in names if _shape(wanted, name) != _shape(tensors, name))
    if wrong:
        raise UserError(f"{origin} does not hold the weights of {card.timm}: {len(wrong)} tensors are missing, left over or of "
                        f"another shape, {wrong[0]!r} among them. Choose the backbone that the file was made from.")
    net.load_state_dict(tensors, strict=False)


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None
