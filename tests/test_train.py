"""Training and what feeds it: repeatable, stoppable, and the best epoch is what is left."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny import FITTING, history, labels_of, pictures, same, saved_task, tiny_backbone, training, weights

from vpt_core import embed
from vpt_core.augment import augmented
from vpt_core.backbones import Backbone
from vpt_core.embed import Feed, drain, features_and_logits, feed
from vpt_core.methods import METHODS
from vpt_core.model import Model
from vpt_core.options import options_of
from vpt_core.spec import Spec
from vpt_core.tasks import load_task
from vpt_core.train import Diverged, Epoch, Step, fit, learning_rate

SPEC = Spec(epochs=4, batch_size=6, lr=1e-2)
DEEP = {"prompts": 2, "dropout": 0.2}
LATE = {"prompts": 2, "layers": "3-4"}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


def model_of(backbone: Backbone, method: str = "vpt-deep", seed: int = 0, **options) -> Model:
    return Model(backbone, method, options or {"vpt-deep": DEEP, **FITTING}.get(method, {}), classes=3, seed=seed)


class Watched(Feed):
    """A feed that remembers which images were asked for."""

    seen: list[list[int]]

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.__dict__.setdefault("seen", []).append(index.tolist())
        return super().batch(index)


def watched(data: Feed) -> Watched:
    return Watched(data.x, data.labels, data.start)


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine():
    spec = Spec(lr=0.8, warmup=0.2)
    rates = [learning_rate(spec, step, 20) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert rates[12] == pytest.approx(0.4)  # half-way down
    assert rates[4:] == pytest.approx([0.4 * (1 + math.cos(math.pi * k / 16)) for k in range(16)])
    assert learning_rate(spec, 20, 20) == pytest.approx(0.0)
    assert learning_rate(replace(spec, warmup=0.0), 0, 20) == 0.8
    assert learning_rate(spec, 0, 1) == 0.8


def test_one_record_a_batch_and_one_an_epoch(backbone):
    records = list(training(model_of(backbone), Spec(epochs=2, batch_size=10)))  # 24 images: batches of 10, 10 and 4
    assert [type(r) for r in records] == [Step, Step, Step, Epoch] * 2
    steps, epochs = ([r for r in records if isinstance(r, kind)] for kind in (Step, Epoch))
    assert [(s.epoch, s.step, s.steps) for s in steps] == [(1, 1, 6), (1, 2, 6), (1, 3, 6), (2, 4, 6), (2, 5, 6), (2, 6, 6)]
    assert [(e.epoch, e.epochs, e.val_total) for e in epochs] == [(1, 2, 12), (2, 2, 12)]
    assert epochs[0].loss == pytest.approx((10 * steps[0].loss + 10 * steps[1].loss + 4 * steps[2].loss) / 24)
    assert epochs[0].lr == pytest.approx(learning_rate(Spec(), 2, 6))
    times = [r.seconds for r in records]
    assert times == sorted(times) and times[0] > 0


def test_each_epoch_sees_each_image_once_in_another_order(backbone):
    model, labels = model_of(backbone), labels_of(8)
    train = watched(drain(feed(model, pictures(labels), labels)))
    list(fit(model, train, Feed(pictures(labels[:0]), torch.tensor([]), 0), SPEC))
    epochs = [sum(train.seen[i : i + 4], []) for i in range(0, 16, 4)]
    assert all(sorted(order) == list(range(24)) for order in epochs) and len({tuple(order) for order in epochs}) == 4


def test_it_learns_in_training_mode_and_validates_outside_of_it(backbone):
    model, learning, looking = model_of(backbone), [], []
    model.register_forward_pre_hook(lambda module, args: learning.append(module.training))
    run = model.run
    model.run = lambda *args: looking.append(model.training) or run(*args)
    list(training(model, SPEC))
    assert learning == [True] * 16
    assert looking == ([True] * 4 + [False]) * 4  # four batches, then one of validation


def test_it_learns(backbone):
    records = list(training(model_of(backbone), Spec(epochs=15, batch_size=8, lr=0.02), each=16, val=10))
    epochs = [r for r in records if isinstance(r, Epoch)]
    assert epochs[-1].loss < 0.5 * epochs[0].loss and max(e.val_accuracy for e in epochs) > 0.8


def test_the_same_seed_gives_the_same_history_and_another_seed_another(backbone):
    first, again = (history(model_of(backbone), SPEC) for _ in range(2))
    assert first == again
    assert history(model_of(backbone), replace(SPEC, seed=1)) != first  # another order
    assert history(model_of(backbone, seed=1), SPEC) != first  # other first weights


def test_the_random_state_of_the_process_neither_matters_nor_changes(backbone):
    model = model_of(backbone)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    told = history(model, SPEC)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert told == history(model_of(backbone), SPEC)


def test_linear_and_vpt_deep_of_a_seed_see_the_same(backbone, tmp_path):
    """The same split, the same first head, the same images in the same order."""
    task = load_task(saved_task(tmp_path / "t"))
    seen, heads = [], []
    for name in ("linear", "vpt-deep"):
        splits = task.splits(seed=3, shots=0)
        model = model_of(backbone, name, seed=3)
        heads.append(model.head.weight.detach().clone())
        train, val = (watched(drain(feed(model, task.pixels[i], task.labels[i]))) for i in (splits.train, splits.val))
        list(fit(model, train, val, replace(SPEC, seed=3)))
        seen.append([[int(splits.train[i]) for i in batch] for batch in train.seen])
    assert seen[0] == seen[1] and torch.equal(*heads) and len(seen[0]) == 12


@pytest.mark.parametrize(
    ("method", "options", "cut"), [("linear", {}, 6), ("vpt-deep", LATE, 3), ("vpt-deep", {"layers": "2-3"}, 2)]
)
def test_cached_features_train_as_live_ones(backbone, method, options, cut, monkeypatch):
    told, logits = [], []
    for limit in (embed.CACHE_BYTES, 0):
        monkeypatch.setattr(embed, "CACHE_BYTES", limit)
        monkeypatch.setattr(embed, "DISK_BYTES", limit)
        model, labels = model_of(backbone, method, **options), labels_of(8)
        data = drain(feed(model, pictures(labels), labels))
        assert data.start == (cut if limit else 0)
        logits.append(drain(features_and_logits(model, data))[1])
        told.append(history(model, SPEC))
    assert torch.allclose(*logits, atol=1e-6)
    for cached, live in zip(*told, strict=True):
        assert cached == pytest.approx(live, rel=1e-4, abs=1e-5)


def test_features_are_cached_where_it_pays_and_fits(backbone, monkeypatch):
    labels = labels_of(4)

    def start(method: str, **options) -> int:
        return drain(feed(model_of(backbone, method, **options), pictures(labels), labels)).start

    assert embed.CACHE_BYTES == 2 * 1024**3
    assert start("linear") == 6 and start("vpt-deep", layers="4") == 4
    assert start("vpt-deep") == start("vpt-shallow") == 0  # the stem alone does not pay
    needed = len(labels) * 5 * 32 * 4  # images, tokens, width, bytes of a float
    monkeypatch.setattr(embed, "CACHE_BYTES", needed)
    assert start("vpt-deep", layers="4") == 4
    monkeypatch.setattr(embed, "CACHE_BYTES", needed - 1)
    assert start("vpt-deep", layers="4") == 4  # in a file
    monkeypatch.setattr(embed, "DISK_BYTES", needed - 1)
    assert start("vpt-deep", layers="4") == 0 and start("linear") == 6


def test_a_cache_in_a_file_holds_what_one_in_memory_holds(backbone, monkeypatch, tmp_path):
    monkeypatch.setattr(embed.tempfile, "tempdir", str(tmp_path))
    labels = labels_of(4)
    kept = []
    for limit in (embed.CACHE_BYTES, 0):
        monkeypatch.setattr(embed, "CACHE_BYTES", limit)
        kept.append(drain(feed(model_of(backbone, "linear"), pictures(labels), labels)))
    assert torch.equal(kept[0].x, kept[1].x) and not kept[1].x.requires_grad
    assert list(tmp_path.iterdir()) == []  # the file has no name
    full = type("Usage", (), {"free": 100})
    monkeypatch.setattr(embed.shutil, "disk_usage", lambda path: full)
    assert drain(feed(model_of(backbone, "linear"), pictures(labels), labels)).start == 0


def test_augmented_images_are_not_cached_and_change_with_each_step(backbone):
    labels = labels_of(8)
    model = model_of(backbone, "linear")
    data = drain(feed(model, pictures(labels), labels, cache=False))
    assert data.start == 0
    losses = {}
    for kind in options_of(Spec)["augment"][0].choices:
        steps = fit(model_of(backbone, "linear"), data, Feed(pictures(labels[:0]), torch.tensor([]), 0),
                    replace(SPEC, augment=kind, lr=1e-7))
        losses[kind] = [step.loss for step in steps if isinstance(step, Step)]
    assert losses["none"] != pytest.approx(losses["flip"], rel=1e-3) != pytest.approx(losses["flip and shift"], rel=1e-3)


def test_augmentation_mirrors_and_shifts_each_image_by_itself():
    pixels = torch.arange(64 * 3 * 16 * 16, dtype=torch.float32).view(64, 3, 16, 16)
    generator = torch.Generator().manual_seed(0)
    assert augmented(pixels, "none", generator) is pixels
    flipped = augmented(pixels, "flip", generator)
    mirrored = (flipped == pixels.flip(-1)).flatten(1).all(1)
    assert ((flipped == pixels).flatten(1).all(1) ^ mirrored).all() and 16 < mirrored.sum() < 48
    moved = augmented(pixels, "flip and shift", generator)
    assert moved.shape == pixels.shape
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2), mode="reflect")
    places = [(y, x) for y in range(5) for x in range(5)]
    found = set()
    for image, from_ in zip(moved, padded, strict=True):
        ways = (from_, from_.flip(-1))
        hits = [(y, x) for y, x in places for way in ways if torch.equal(image, way[:, y : y + 16, x : x + 16])]
        assert hits
        found.add(hits[0])
    assert len(found) > 10


def test_a_feed_tells_how_far_it_is(backbone, monkeypatch):
    labels = labels_of(50)
    model = model_of(backbone, "linear")
    assert list(feed(model, pictures(labels), labels)) == [*range(16, 150, 16), 150]
    data = drain(feed(model, pictures(labels), labels))
    assert data.x.shape == (150, 32) and not data.x.requires_grad and len(data) == 150
    assert list(features_and_logits(model, data)) == [*range(16, 150, 16), 150]


def test_a_feed_that_waits_leaves_gradients_on(backbone):
    labels = labels_of(2)
    work = feed(model_of(backbone, "linear"), pictures(labels), labels)
    next(work)
    assert torch.is_grad_enabled()
    work.close()


def test_no_images_have_features_and_logits(backbone):
    model, none = model_of(backbone), labels_of(0)
    features, logits = drain(features_and_logits(model, drain(feed(model, pictures(none), none))))
    assert features.shape == (0, 32) and logits.shape == (0, 3)


@pytest.mark.parametrize("method", METHODS)
def test_two_trainings_at_once_go_as_each_alone(backbone, method):
    alone = {seed: history(model_of(backbone, method, seed=seed), SPEC) for seed in (0, 1)}
    together, start = {}, threading.Barrier(2)

    def train(seed: int) -> None:
        start.wait()
        together[seed] = history(model_of(backbone, method, seed=seed), SPEC)

    threads = [threading.Thread(target=train, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, records in alone.items():  # not equal to the bit: another thread may add in another order
        for a, b in zip(together[seed], records, strict=True):
            assert a == pytest.approx(b, rel=1e-3, abs=1e-5)


def test_the_best_epoch_is_left_and_not_the_last(backbone, monkeypatch):
    """Best is most validation images right, whatever the loss; of equals the later one."""
    results = [(1.0, 5), (0.9, 4), (0.5, 8), (0.7, 8), (0.1, 7), (0.6, 6)]
    told = iter(results)
    monkeypatch.setattr("vpt_core.train._validate", lambda model, val, stop: next(told))
    model, each = model_of(backbone), []
    epochs = []
    for record in training(model, replace(SPEC, epochs=len(results))):
        if isinstance(record, Epoch):
            epochs.append(record)
            each.append(weights(model))
    assert [e.best for e in epochs] == [True, False, True, True, False, False]
    assert [(e.val_loss, e.val_correct) for e in epochs] == results
    assert [same(weights(model), w) for w in each] == [False, False, False, True, False, False]
    assert not model.training


def test_the_validation_result_is_that_of_the_weights_left(backbone):
    model, labels = model_of(backbone), labels_of(4)
    epochs = [r for r in training(model, replace(SPEC, lr=0.3)) if isinstance(r, Epoch)]
    best = [e for e in epochs if e.best][-1]
    _, logits = drain(features_and_logits(model, drain(feed(model, pictures(labels, seed=1), labels))))
    assert int((logits.argmax(1).numpy() == labels).sum()) == best.val_correct
    assert torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).item() == pytest.approx(best.val_loss, abs=1e-6)
    assert best.val_accuracy == best.val_correct / 12


@pytest.mark.parametrize("at", range(1, 13))
@pytest.mark.parametrize("how", ["stop", "close"])
def test_stopped_at_any_batch_it_keeps_the_best_so_far(backbone, at, how):
    """Three epochs of four batches."""
    model, kept, done = model_of(backbone), {}, 0
    run = training(model, replace(SPEC, lr=0.3, epochs=3), lambda: how == "stop" and done == at)
    for record in run:
        if isinstance(record, Step):
            done = record.step
            if not kept and how == "stop":
                first = weights(model)
        elif record.best:
            kept = weights(model)
        if how == "close" and done == at:
            first = weights(model)
            run.close()
    assert done == at
    assert same(weights(model), kept or first) and not model.training


def test_stopped_while_it_validates_it_keeps_the_epoch_before(backbone):
    """Epochs of four batches; the 90 validation images are six."""
    model, kept, asked = model_of(backbone), {}, []
    stop = lambda: asked.append(1) or len(asked) == (4 + 5) + (4 + 1)  # noqa: E731
    for record in training(model, replace(SPEC, lr=0.3, epochs=3), stop, val=30):
        kept = weights(model) if isinstance(record, Epoch) else kept
    assert isinstance(record, Step) and (record.epoch, record.step, len(asked)) == (2, 8, 14)
    assert same(weights(model), kept)


def test_without_validation_images_the_last_epoch_is_the_best(backbone):
    model = model_of(backbone)
    epochs = [r for r in training(model, SPEC, val=0) if isinstance(r, Epoch)]
    assert all(e.best and e.val_loss is None and e.val_correct is None and e.val_accuracy is None for e in epochs)
    assert [e.val_total for e in epochs] == [0] * 4
    model, kept = model_of(backbone), {}
    for record in training(model, SPEC, val=0):
        kept = weights(model) if isinstance(record, Epoch) else kept
    assert same(weights(model), kept) and json.loads(json.dumps(asdict(record)))["best"]


WILD = {"lr": 100.0, "weight_decay": 1.0, "warmup": 0.0}  # weights grow about 99-fold a step, to infinity in twenty


def test_a_loss_that_is_no_number_stops_with_advice(backbone):
    model = model_of(backbone)
    with pytest.raises(Diverged) as error:
        list(training(model, Spec(epochs=1, batch_size=1, **WILD)))
    message = str(error.value)
    assert "in epoch 1, step " in message and "of 24." in message
    assert message.endswith("Try a learning rate 10 times smaller: 10 instead of 100.")
    assert not model.training


@pytest.mark.parametrize("val", [0, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 5, 12, 24])
@pytest.mark.parametrize("method", ["linear", "vpt-deep"])
def test_divergence_keeps_finite_weights_of_the_best_epoch(backbone, method, batch_size, val):
    """Wherever it happens: in a batch, or between an epoch's last batch and its validation."""
    model, kept, spec = model_of(backbone, method), {}, Spec(epochs=60, batch_size=batch_size, **WILD)
    with pytest.raises(Diverged):
        for record in training(model, spec, val=val):
            if isinstance(record, Epoch):
                json.dumps(asdict(record), allow_nan=False)
                kept = weights(model) if record.best else kept
    assert kept or batch_size == 1
    if kept:
        assert same(weights(model), kept) and all(t.isfinite().all() for t in kept.values())


def test_a_feed_holds_pixels_or_features_and_labels_as_they_were(backbone):
    labels = np.array([2, 0, 1, 1], dtype=np.int64)[::-1]
    pixels = pictures(labels)
    live = drain(feed(model_of(backbone), pixels, labels))
    x, y = live.batch(torch.tensor([3, 0]))
    assert live.start == 0 and y.tolist() == [2, 1] and x.shape == (2, 3, 32, 32)
    assert torch.equal((x * 255).round().permute(0, 2, 3, 1).to(torch.uint8), torch.from_numpy(pixels[[3, 0]]))
    cached = drain(feed(model_of(backbone, "linear"), pixels, labels))
    assert torch.allclose(cached.batch(torch.tensor([3, 0]))[0], backbone(x), atol=1e-6)
