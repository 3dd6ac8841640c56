"""Images in parts, side by side: a thread for each part of a batch, instead of all threads for each operation.

Through a frozen backbone every image goes alone. Where the threads share one operation after the other they wait for each
other hundreds of times in a pass; here they meet once. And a part is small enough that what a layer hands to the next one
is still in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

FEWEST, MOST = 4, 8  # images: fewer make products too small to be fast; more, without gradients, leave the cache
Result = TypeVar("Result")


def part_of(images: int, most: int | None = None) -> int:
    """How many of a batch's images a part takes: a share for each of torch's threads, `most` at most."""
    share = max(FEWEST, -(-images // (torch.get_num_threads() if _setters() else 1)))
    return min(share, most or share)


def side_by_side(work: Callable[..., Result], *parts: tuple[object, ...]) -> list[Result]:
    """`work(*part)` for each of `parts`, in their order, without gradients; at once, as far as torch has threads for it.

    `work` has to be safe for that. Autocast is on where it is on for the caller.
    """
    rounded, threads = torch.is_autocast_enabled("cpu"), torch.get_num_threads()

    def each(part: tuple[object, ...]) -> Result:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            return work(*part)

    def alone(part: tuple[object, ...]) -> Result:
        torch.get_num_threads()  # makes what a new thread starts with; only then it can be changed
        for set_threads in _setters():
            set_threads(max(1, threads // len(parts)))
        return each(part)

    if len(parts) == 1 or threads == 1 or not _setters():
        return [each(part) for part in parts]
    return list(_workers(threads).map(alone, parts))


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "share")


@cache
def _setters() -> tuple[Callable[[int], object], ...]:
    """What sets how many threads take part in the operations of the calling thread, and of no other.

    torch.set_num_threads would set it for the products of the whole process. OpenMP's and MKL's own functions do not, where
    torch is built with them: none elsewhere, where batches stay whole.
    """
    folder = Path(torch.__file__).parent / "lib"
    try:
        openmp = CDLL(str(next(folder.glob("libgomp*.so*")))).omp_set_num_threads
        if not torch.backends.mkl.is_available():
            return (openmp,)
        return openmp, CDLL(str(folder / "libtorch_cpu.so")).MKL_Set_Num_Threads_Local
    except (StopIteration, OSError, AttributeError):
        return ()
