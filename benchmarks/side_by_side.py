"""Timing variants side by side: A B C A B C ... in one process, process CPU time, medians of ratios."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ratio:
    """How long one variant takes against another: the median over rounds, and the middle half of them."""

    median: float
    low: float
    high: float

    def times(self, factor: float) -> Ratio:
        """All three, `factor` times as large."""
        return Ratio(self.median * factor, self.low * factor, self.high * factor)

    def __str__(self) -> str:
        spread = f" ({self.low:.3g} to {self.high:.3g})" if self.high > self.low else ""  # memory has none
        return f"{self.median:.3g}{spread}"


def seconds_of(
    variants: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """CPU seconds, or another `clock`'s, of each variant in each round, after a first call of each that does not count."""
    for run in variants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            began = clock()
            run()
            seconds[name].append(clock() - began)
    return seconds


def ratio(seconds: dict[str, list[float]], one: str, against: str) -> Ratio:
    """Round by round, so that a slow minute of the machine slows both."""
    shares = sorted(a / b for a, b in zip(seconds[one], seconds[against], strict=True))
    quarter = len(shares) // 4
    return Ratio(statistics.median(shares), shares[quarter], shares[-1 - quarter])


def machine() -> str:
    """What the figures were measured on."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return (f"{names[0] if names else platform.processor()}, {torch.backends.cpu.get_cpu_capability()}, "
            f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), float32")  # fmt: skip
