"""Prompt files on the Hugging Face hub: push one with a model card, pull one. The hub is the one at `HF_ENDPOINT`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    ModelInfo,
    constants,
    get_hf_file_metadata,
    get_token,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from vpt_core.errors import UserError
from vpt_core.model_card import model_card
from vpt_core.prompt_file import MAX_BYTES, load_prompt, read_about

FILE, CARD = "tuned.safetensors", "README.md"
_CONNECT_SECONDS = 5.0


def push_prompt(file_or_run: Path, repo_id: str, token: str | None = None, private: bool = False) -> str:
    """Put a prompt file, or that of a run's folder, and a model card on the hub in one commit. Gives the repository's URL.

    Makes the repository when it is missing; an earlier prompt file and card in it are replaced. `token` is one with
    write access, by default `HF_TOKEN` or the login of this machine. Raises `UserError` before anything is sent when
    `load_prompt` refuses the file or the repository is there and not for this, and when the hub cannot or will not take it.
    """
    _check_name(repo_id)
    token = _checked_token(token or get_token())
    path = Path(file_or_run)
    path = path / FILE if path.is_dir() else path
    about = load_prompt(path).about
    card = model_card(about, path.stat().st_size, repo_id)
    api = HfApi(token=token)
    there = _find(api, repo_id)
    if there:
        _refuse_unsuitable(there, repo_id, private)
    with _in_words(repo_id):
        if not there:
            api.create_repo(repo_id, private=private)
        files = [CommitOperationAdd(FILE, path), CommitOperationAdd(CARD, card.encode())]
        api.create_commit(repo_id, files, commit_message="Prompt file and its model card")
    return f"{api.endpoint}/{repo_id}"


def pull_prompt(repo_id: str, revision: str | None = None) -> Path:
    """The prompt file of a repository on the hub, in the local cache; nothing else of the repository is fetched.

    `revision` is a branch, tag or commit, the main branch by default. The file's size is checked before and its
    description after the download; only `load_prompt`, which has the backbone, checks all. Raises `UserError`.
    """
    _check_name(repo_id)
    with _in_words(repo_id):
        # One look without retries, as for the weights; the download is then of the very commit that was looked at.
        found = get_hf_file_metadata(hf_hub_url(repo_id, FILE, revision=revision), timeout=_CONNECT_SECONDS)
    if found.size is None or found.size > MAX_BYTES:
        size = "an unknown size" if found.size is None else f"{found.size / 1e6:,.0f} MB"
        raise UserError(f"{FILE} in {repo_id} has {size}; a prompt file has {MAX_BYTES / 1e6:.0f} MB at most. "
                        "It was not fetched.")
    with _in_words(repo_id):
        path = Path(hf_hub_download(repo_id, FILE, revision=found.commit_hash, etag_timeout=_CONNECT_SECONDS))
    read_about(path)
    return path


def _check_name(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
        named = "/" in repo_id
    except HFValidationError:
        named = False
    if not named:
        raise UserError(f"{repo_id[:100]!r} is not the name of a repository. It has to be name/repository, of letters, digits, "
                        "'-', '_' and '.', such as ada/flowers-vpt.")


def _checked_token(token: str | None) -> str:
    """The token, which must not reach a message: the HTTP library quotes a header that it refuses."""
    token = (token or "").strip()
    if not token:
        raise UserError(f"Pushing needs a token. {_advice()} Set HF_TOKEN to it.")
    if not re.fullmatch(r"[!-~]{1,2000}", token):
        raise UserError(f"The token holds characters that no token has, or is too long. {_advice()}")
    return token


def _find(api: HfApi, repo_id: str) -> ModelInfo | None:
    with _in_words(repo_id):
        try:
            return api.model_info(repo_id, timeout=_CONNECT_SECONDS)
        except RepositoryNotFoundError:
            return None


def _refuse_unsuitable(there: ModelInfo, repo_id: str, private: bool) -> None:
    files = {sibling.rfilename for sibling in there.siblings or ()}
    others = sorted(files - {".gitattributes", CARD})
    if others and FILE not in files:
        raise UserError(f"{repo_id} already holds something else ({', '.join(others)[:100]}), whose card would be overwritten. "
                        "Choose another name.")
    if private and not there.private:
        raise UserError(f"{repo_id} is there already and is public. Choose another name, or make it private at "
                        f"{constants.ENDPOINT}/{repo_id}/settings first.")


def _advice() -> str:
    return f"Make one with write access at {constants.ENDPOINT}/settings/tokens."


@contextmanager
def _in_words(repo_id: str) -> Iterator[None]:
    """Whatever goes wrong between here and the hub, as a `UserError`."""
    try:
        yield
    except (OSError, HTTPError, RuntimeError, ValueError) as error:  # the last two: uploads and answers that are no JSON
        raise UserError(_failure(error, repo_id)) from None


def _failure(error: Exception, repo_id: str) -> str:
    hub = constants.ENDPOINT
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids asking the hub. Unset it and start again."
    if isinstance(error, RemoteEntryNotFoundError):
        return f"{repo_id} at {hub} has no {FILE}, so it holds no prompt file. Check the name."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} at {hub} has no such revision. Name a branch, tag or commit of it."
    if isinstance(error, RepositoryNotFoundError):
        return (f"There is no repository {repo_id} at {hub}, or it is private. Check the name; for a private one, set HF_TOKEN "
                "to a token that may read it.")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return f"{hub} does not know this token (HTTP 401). {_advice()}"
    if status == 403:
        return f"This token is not allowed to do that with {repo_id} (HTTP 403). {_advice()}"
    reason = f"HTTP {status}" if status else str(error).partition("\n")[0][:150] or type(error).__name__
    return (f"{hub} could not be asked for {repo_id} ({reason}). Check the network; where the hub is blocked, set HF_ENDPOINT "
            "to a mirror and start again.")
