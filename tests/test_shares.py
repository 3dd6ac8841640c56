"""Batches in parts, side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from ctypes import CDLL
from pathlib import Path

import pytest
import torch
from tiny import FITTING, labels_of, pictures, tiny_backbone
from torch.nn import functional as F

from vpt_core import shares
from vpt_core.backbones import to_pixels
from vpt_core.methods import METHODS
from vpt_core.methods.how import How
from vpt_core.model import Model
from vpt_core.precision import BFLOAT16, FLOAT32
from vpt_core.shares import part_of, side_by_side


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


CASES = [(1, 16, 16, 8), (2, 16, 8, 8), (2, 8, 4, 4), (2, 5, 4, 4), (2, 64, 32, 8), (8, 16, 4, 4), (4, 1, 4, 4)]


@pytest.mark.parametrize(("threads", "images", "alone", "at_most_8"), CASES)
def test_a_batch_goes_to_the_threads_there_are(threads, images, alone, at_most_8):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert (part_of(images), part_of(images, 8)) == (alone, at_most_8)
    finally:
        torch.set_num_threads(before)


def test_parts_are_done_at_once_in_their_order_by_threads_of_their_own(threads):
    together = threading.Barrier(threads, timeout=30)  # breaks unless all stand here at once

    def work(k: int, what: str) -> tuple[int, str, bool, int]:
        together.wait()
        return k, what, torch.is_grad_enabled(), torch.get_num_threads()

    found = side_by_side(work, *((k, "x" * k) for k in range(threads)))
    assert found == [(k, "x" * k, False, 1) for k in range(threads)]
    assert torch.is_grad_enabled()


def test_few_parts_leave_several_threads_to_each():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert side_by_side(torch.get_num_threads, (), ()) == [2, 2]
        assert side_by_side(torch.get_num_threads, ()) == [4]
    finally:
        torch.set_num_threads(before)


def test_no_other_thread_is_touched(threads):
    """Through OpenMP and MKL, whose settings torch.set_num_threads would change for all."""
    products = CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).MKL_Get_Max_Threads
    inside, leave = threading.Event(), threading.Event()

    def work(wait: bool) -> tuple[int, int]:
        if wait:
            inside.set()
            leave.wait(30)
        return torch.get_num_threads(), products()

    found = []
    sharing = threading.Thread(target=lambda: found.extend(side_by_side(work, (True,), (False,))))
    sharing.start()
    assert inside.wait(30)
    other = threading.Thread(target=lambda: found.append(work(False)))
    other.start()
    other.join()
    mine = work(False)
    leave.set()
    sharing.join()
    assert mine == found[0] == (threads, threads) and found[1:] == [(1, 1), (1, 1)]


def test_a_torch_without_these_functions_keeps_batches_whole(threads, monkeypatch):
    monkeypatch.setattr(shares, "_setters", lambda: ())
    assert part_of(16) == 16 and part_of(16, 8) == 8
    assert side_by_side(torch.get_num_threads, (), ()) == [threads, threads]


def test_autocast_is_the_callers(threads):
    with torch.autocast("cpu", torch.bfloat16):
        assert side_by_side(lambda: torch.is_autocast_enabled("cpu"), (), ()) == [True, True]
    assert side_by_side(lambda: torch.is_autocast_enabled("cpu"), (), ()) == [False, False]


def test_an_error_comes_out(threads):
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda k: 1 // k, (1,), (0,))


def _learned(how: How, precision: str) -> list[torch.Tensor]:
    model = Model(tiny_backbone(), "vpt-deep", {"prompts": 4, "dropout": 0.5}, classes=3, precision=precision).train()
    model.method.how = how
    labels = labels_of(3)[:7]
    loss = F.cross_entropy(model(to_pixels(pictures(labels))), torch.from_numpy(labels))
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize("how", [How(), How(lean=True)], ids=str)
@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16])
def test_a_step_in_parts_is_the_same_step(how, precision, threads, monkeypatch):
    monkeypatch.setattr(shares, "FEWEST", 2)  # 7 images: 4 and 3, or 3, 3 and 1
    in_parts = _learned(how, precision)
    monkeypatch.setattr(shares, "FEWEST", 99)
    near = 1e-5 if precision == FLOAT32 else 2e-2
    for parts, whole in zip(in_parts, _learned(how, precision), strict=True):
        assert torch.allclose(parts, whole, rtol=near, atol=near * float(whole.abs().max()))


@pytest.mark.parametrize("method", [name for name in METHODS if "vit" in METHODS[name].families])
def test_a_pass_in_parts_is_the_same_pass(method, threads, monkeypatch):
    x = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = Model(tiny_backbone(), method, FITTING.get(method, {}), classes=3, image_size=32).eval()
    seen, run = [], model.method.run
    monkeypatch.setattr(model.method, "run", lambda x, *stages: seen.append(len(x)) or run(x, *stages))
    with torch.no_grad():
        in_parts = model(x)
        monkeypatch.setattr(shares, "FEWEST", 99)
        monkeypatch.setattr("vpt_core.model.MOST", 99)
        whole = model(x)
    assert torch.allclose(in_parts, whole, rtol=1e-5, atol=1e-6)
    assert sorted(seen) == sorted([5, 5, 10] if threads == 2 else [4, 4, 2, 10])


def test_in_training_and_with_gradients_a_pass_stays_whole(threads):
    """Dropout and statistics are of the batch, and autograd's graph is built by one thread."""
    model = Model(tiny_backbone(), "linear", {}, classes=3)
    seen = []
    model.method.stages[0] = lambda x, stem=model.method.stages[0]: seen.append(len(x)) or stem(x)
    x = torch.rand(16, 3, 32, 32)
    with torch.no_grad():
        model.train().run(x)
    model.eval().run(x)
    assert seen == [16, 16]
