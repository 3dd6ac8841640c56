"""Reading from the hub: the parquet files of a data set, streamed, without the code or the links that a stranger put there.

Only files of the repository that was named are opened, at one commit; what its card says about files is not followed, as it
may name any address and any path of this computer. Images stay bytes, for the same decoder as uploads.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
from datasets import ClassLabel, Image, IterableDataset, Value
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vpt_core.errors import UserError
from vpt_core.tasks.hub_sets import Row, Sample, Wanted
from vpt_core.tasks.layout import split_of
from vpt_core.tasks.limits import Limits

_CONVERTED = "refs/convert/parquet"  # where the hub itself keeps each set as parquet, CONFIG/SPLIT/0000.parquet
_LABELS = ("label", "labels", "fine_label", "class", "category", "target", "coarse_label")
_SHARES = {"train": 3, "val": 1, "test": 1, "": 5}
_READ_AHEAD = 20  # rows that are looked at for each that is taken: sets are often in the order of their classes
_SHARDS = 8  # files of a split that are read in turn, for the same reason
_CONNECT_SECONDS = 5.0

datasets.config.STREAMING_READ_MAX_RETRIES = 2  # of 20, which are 100 seconds

_Files = dict[str, dict[str, list[str]]]  # configuration to split to files


def read_sample(wanted: Wanted, limits: Limits) -> Sample:
    """The sample that `wanted` asks for. Raises `UserError`."""
    with _in_words(wanted.repository):
        root, files = _find(wanted.repository)
        config = _choose(wanted, files)
        splits = {split: [f"{root}/{name}" for name in sorted(names)] for split, names in files[config].items()}
        return _Reading(wanted, limits, splits).sample(config, sorted(files))


def _find(repository: str) -> tuple[str, _Files]:
    """Where the files are, at one commit, and which there are."""
    for revision in (_CONVERTED, None):
        try:
            info = HfApi().dataset_info(repository, revision=revision, timeout=_CONNECT_SECONDS)
        except RevisionNotFoundError:
            continue
        files = _sort(sibling.rfilename for sibling in info.siblings or ())
        if files:
            return f"hf://datasets/{repository}@{info.sha}", files
    raise UserError(f"{repository} has no parquet files on the hub, and the hub has made none of it, so it cannot be streamed.")


def _sort(names: Iterator[str]) -> _Files:
    """`data/train-00000-of-00002.parquet` and `default/train/0000.parquet` by configuration and split."""
    found: _Files = defaultdict(lambda: defaultdict(list))
    for name in names:
        *folders, file = name.split("/")
        if not file.endswith(".parquet") or ".." in folders:
            continue
        inner = re.sub("^partial-", "", folders[-1]) if folders else ""
        words = re.match(r"[A-Za-z]*", file)
        split = split_of(inner) or split_of(words[0] if words else "")
        config = folders[0] if folders and folders[0] not in ("data", inner if split_of(inner) else "") else "default"
        found[config][split].append(name)
    for config in found.values():
        if set(config) - {""}:
            config.pop("", None)  # beside named splits: something that is neither to train nor to test on
    return found


def _choose(wanted: Wanted, files: _Files) -> str:
    config = wanted.config or ("default" if "default" in files else min(files))
    if config not in files:
        known = ", ".join(sorted(files))[:300]
        raise UserError(f"{wanted.repository} has no configuration {config!r}. Choose one of: {known}.")
    return config


class _Reading:
    """One pass over the splits of a set."""

    def __init__(self, wanted: Wanted, limits: Limits, files: dict[str, list[str]]) -> None:
        self.wanted, self.limits = wanted, limits
        if len(files) == 1:  # no split is given where all is in one
            files = {"": next(iter(files.values()))}
        self.files = files
        self.bytes = 0
        self.warnings: list[str] = []

    def sample(self, config: str, configs: list[str]) -> Sample:
        files = {split or "all": names for split, names in self.files.items()}
        streams = datasets.load_dataset("parquet", data_files=files, streaming=True)
        image, label, names = _columns(self.wanted.repository, next(iter(streams.values())))
        total = sum(_SHARES[split] for split in self.files)
        rows: list[Row] = []
        for split in self.files:
            most = max(1, self.wanted.images * _SHARES[split] // total)
            stream = streams[split or "all"].select_columns([image, label]).cast_column(image, Image(decode=False))
            rows += self._take(stream, split, most, (image, label, names))
        note = f"A sample of {self.wanted.repository}: columns {image} and {label}"
        note += f", configuration {config} of {', '.join(configs)[:200]}." if len(configs) > 1 else "."
        return Sample(rows, [note], self.warnings)

    def _take(self, stream: IterableDataset, split: str, most: int, columns: tuple[str, str, list[str]]) -> list[Row]:
        """Up to `most` rows, evenly from the classes, as far as they are met in time."""
        image, label, names = columns
        each = -(-most // len(names)) if names else -(-most // 2)
        taken: Counter[str] = Counter()
        rows: list[Row] = []
        for number, row in enumerate(_in_turn(stream)):
            data, name = (row[image] or {}).get("bytes") or b"", _name(row[label], names)
            self.bytes += len(data)
            if number >= _READ_AHEAD * most or self.bytes > self.limits.total_bytes:
                break
            if taken[name] < each:
                taken[name] += 1
                rows.append(Row(data[: self.limits.file_bytes + 1], name, split, number))
            if len(rows) == most:
                return rows
        if lacking := [name for name in names if not taken[name]]:
            self.warnings.append(f"{len(lacking)} of {len(names)} classes were not met in the first {number + 1:,} rows"
                                 f"{f' of {split}' if split else ''}: {', '.join(lacking)[:150]}.")  # fmt: skip
        return rows


def _in_turn(stream: IterableDataset) -> Iterator[dict[str, Any]]:
    """Rows from several files of a split in turn, the same each time."""
    number = min(stream.num_shards, _SHARDS)
    parts = [iter(stream.shard(number, i)) for i in range(number)]
    while parts:
        for part in list(parts):
            row = next(part, None)
            if row is None:
                parts.remove(part)
            else:
                yield row


def _columns(repository: str, stream: IterableDataset) -> tuple[str, str, list[str]]:
    """The column of images, that of labels, and the names of the classes where the set says them."""
    features = stream.features or {}
    images = [name for name, kind in features.items() if isinstance(kind, Image)]
    named = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    plain = [name for name, kind in features.items() if isinstance(kind, Value) and name in _LABELS]
    labels = sorted(named, key=lambda name: _LABELS.index(name) if name in _LABELS else len(_LABELS)) or plain
    if not images or not labels:
        listed = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())[:300] or "none"
        raise UserError(f"{repository} is not a set of images with one label each: it has the columns {listed}.")
    kind = features[labels[0]]
    return images[0], labels[0], list(kind.names) if isinstance(kind, ClassLabel) else []


def _name(label: Any, names: list[str]) -> str:
    """The class; empty for no label, which many sets write as -1."""
    if label is None or (names and not 0 <= label < len(names)):
        return ""
    return names[label] if names else str(label)


@contextmanager
def _in_words(repository: str) -> Iterator[None]:
    """Whatever goes wrong between here and the hub, as a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (OSError, HTTPError, RuntimeError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(_failure(error, repository)) from error


def _failure(error: Exception, repository: str) -> str:
    hub = constants.ENDPOINT
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE forbids asking the hub for {repository}. Unset it and start again."
    if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
        return (f"There is no data set {repository} at {hub}, or it is private. Check the name, with its owner; for a private "
                "one, set HF_TOKEN to a token that may read it.")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if status in (401, 403):
        return f"{repository} has to be asked for: accept its terms at {hub}/datasets/{repository} and set HF_TOKEN."
    reason = f"HTTP {status}" if status else str(error).partition("\n")[0][:150] or type(error).__name__
    return (f"{hub} could not be asked for {repository} ({reason}). Check the network; where the hub is blocked, set "
            "HF_ENDPOINT to a mirror and start again.")
