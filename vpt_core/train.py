"""Training: one generator of records."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vpt_core.augment import augmented
from vpt_core.embed import Feed, features_and_logits
from vpt_core.errors import UserError
from vpt_core.metrics import Score
from vpt_core.model import Model
from vpt_core.spec import Spec


@dataclass(frozen=True)
class Step:
    """One batch was learned from."""

    epoch: int
    step: int  # of all steps, from 1
    steps: int
    loss: float
    seconds: float  # since training began


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images ended. `loss` is their mean; without validation images `val_*` are None."""

    epoch: int
    epochs: int
    loss: float
    val_loss: float | None
    val_correct: int | None
    val_total: int
    lr: float
    seconds: float
    best: bool  # the best so far by validation accuracy, of equals the latest; without validation images the latest

    @property
    def val_accuracy(self) -> float | None:
        return Score(self.val_correct, self.val_total).accuracy if self.val_correct is not None else None


class State:
    """Where training stands between two epochs: what `fit` needs besides images and spec, and moves on.

    Saved when an `Epoch` is yielded and given to `fit` again, it leads to what an unbroken training leads to.
    """

    def __init__(self, model: Model, spec: Spec) -> None:
        self.model = model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay)
        self.order = torch.Generator().manual_seed(spec.seed)
        self.epoch = 0  # the last one that ended
        self.seconds = 0.0  # of training until then
        self.best: dict[str, Tensor] | None = None  # parameters of the best epoch
        self.most = 0  # validation images that it got right


class Diverged(UserError):
    """The loss, or a weight, is not a finite number any more."""


def learning_rate(spec: Spec, step: int, steps: int) -> float:
    """Linear warm-up over `spec.warmup` of the steps, then a cosine to 0; `step` counts from 0."""
    warm = int(spec.warmup * steps)
    if step < warm:
        return spec.lr * (step + 1) / warm
    return spec.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def fit(
    model: Model,
    train: Feed,
    val: Feed,
    spec: Spec,
    stop: Callable[[], bool] = lambda: False,
    state: State | None = None,
    at_once: int | None = None,
) -> Iterator[Step | Epoch]:
    """Train `model` in place; yield a `Step` a batch and an `Epoch` an epoch. AdamW on the cross-entropy.

    `stop` is asked after each batch, of the validation images too. However it ends (all epochs, `stop`, the generator closed,
    divergence), the model is left with the best epoch's parameters; before a first epoch has ended, with the current ones.
    With a `state` of `model` it goes on after the state's last epoch. At most `at_once` images go through the model together
    (all of a batch by default): the step is the same, but that dropout is drawn for each part. With `spec.augment` the feed
    `train` has to start at the pixels.
    Raises `Diverged` when the loss is not finite; an epoch that ends so is neither yielded nor kept.
    """
    steps_an_epoch = math.ceil(len(train) / spec.batch_size)
    steps = spec.epochs * steps_an_epoch
    state = state or State(model, spec)
    began = time.perf_counter() - state.seconds
    try:
        for epoch in range(state.epoch + 1, spec.epochs + 1):
            total = 0.0
            for k, index in enumerate(torch.randperm(len(train), generator=state.order).split(spec.batch_size)):
                done = (epoch - 1) * steps_an_epoch + k
                rate = learning_rate(spec, done, steps)
                loss = _learn(state, spec, rate, train, index, at_once or len(index))
                if not math.isfinite(loss):
                    raise _diverged(f"The loss became {loss} in epoch {epoch}, step {k + 1} of {steps_an_epoch}.", spec)
                total += loss * len(index)
                yield Step(epoch, done + 1, steps, loss, time.perf_counter() - began)
                if stop():
                    return
            checked = _validate(model, val, stop)
            if checked is None:
                return
            val_loss, correct = checked
            if not _finite(model, val_loss):
                raise _diverged(f"The weights grew beyond all bounds in the last step of epoch {epoch}.", spec)
            improved = correct is None or correct >= state.most
            if improved:
                state.most, state.best = correct or 0, {name: t.detach().clone() for name, t in model.state_dict().items()}
            state.epoch, state.seconds = epoch, time.perf_counter() - began
            yield Epoch(epoch, spec.epochs, total / len(train), val_loss, correct, len(val), rate, state.seconds, improved)
    finally:
        if state.best is not None:
            model.load_state_dict(state.best)
        model.eval()


def _learn(state: State, spec: Spec, rate: float, data: Feed, index: Tensor, at_once: int) -> float:
    model, optimizer = state.model.train(), state.optimizer
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for part in index.split(at_once):
        x, labels = data.batch(part)
        x = augmented(x, spec.augment, state.order)
        logits = model(x, data.start)
        loss = F.cross_entropy(logits, labels.to(logits.device), reduction="sum") / len(index)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def _finite(model: Model, val_loss: float | None) -> bool:
    return (val_loss is None or math.isfinite(val_loss)) and all(bool(p.isfinite().all()) for p in model.parameters())


def _diverged(what: str, spec: Spec) -> Diverged:
    return Diverged(f"{what} Try a learning rate 10 times smaller: {spec.lr / 10:g} instead of {spec.lr:g}.")


def _validate(model: Model, val: Feed, stop: Callable[[], bool]) -> tuple[float | None, int | None] | None:
    """The loss and how many are right, (None, None) without images; None when `stop` broke it off."""
    if not len(val):
        return None, None
    work = features_and_logits(model, val)
    while True:
        try:
            if next(work) < len(val) and stop():
                return None
        except StopIteration as end:
            _, logits = end.value
            return F.cross_entropy(logits, val.labels).item(), int((logits.argmax(1) == val.labels).sum())
