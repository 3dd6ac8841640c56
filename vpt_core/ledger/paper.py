"""The 24 tasks of the paper (Jia et al., ECCV 2022) and what they cost on its ViT-B/16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vpt_core.ledger.account import FLOAT32, Cost, Entry, entry
from vpt_core.ledger.formulas import FULL, learned, stored
from vpt_core.ledger.shapes import VIT_B16, Shape, linear


@dataclass(frozen=True)
class PaperTask:
    """A task, its number of classes, who made its images, and the prompts a layer that the paper found best.

    Those of VPT-shallow are unknown to us for FGVC (None).
    """

    name: str
    group: str
    classes: int
    source: str
    deep: int
    shallow: int | None = None

    @property
    def shallow_or_deep(self) -> int:
        """Prompts of VPT-shallow; where they are unknown, as many as a layer of VPT-deep has.

        Whatever FGVC's five lengths are, if they sum to 23 to 1139 (these sum to 365), the ledger comes to the 1.04 that
        the paper prints.
        """
        return self.deep if self.shallow is None else self.shallow


TASKS: tuple[PaperTask, ...] = (
    PaperTask("CUB-200-2011", "FGVC", 200, "Wah et al. 2011", 10),
    PaperTask("NABirds", "FGVC", 555, "Van Horn et al. 2015", 50),
    PaperTask("Oxford Flowers", "FGVC", 102, "Nilsback and Zisserman 2008", 5),
    PaperTask("Stanford Dogs", "FGVC", 120, "Khosla et al. 2011", 100),
    PaperTask("Stanford Cars", "FGVC", 196, "Krause et al. 2013", 200),
    PaperTask("CIFAR-100", "Natural", 100, "Krizhevsky 2009", 10, 100),
    PaperTask("Caltech101", "Natural", 102, "Fei-Fei et al. 2006; with a background class", 10, 5),
    PaperTask("DTD", "Natural", 47, "Cimpoi et al. 2014", 10, 1),
    PaperTask("Flowers102", "Natural", 102, "Nilsback and Zisserman 2008", 1, 200),
    PaperTask("Pets", "Natural", 37, "Parkhi et al. 2012", 1, 50),
    PaperTask("SVHN", "Natural", 10, "Netzer et al. 2011", 50, 200),
    PaperTask("Sun397", "Natural", 397, "Xiao et al. 2010", 5, 1),
    PaperTask("Patch Camelyon", "Specialized", 2, "Veeling et al. 2018", 100, 5),
    PaperTask("EuroSAT", "Specialized", 10, "Helber et al. 2019", 100, 50),
    PaperTask("Resisc45", "Specialized", 45, "Cheng et al. 2017", 10, 50),
    PaperTask("Retinopathy", "Specialized", 5, "Kaggle and EyePACS 2015", 1, 10),
    PaperTask("Clevr, count", "Structured", 8, "Johnson et al. 2017", 50, 100),
    PaperTask("Clevr, distance", "Structured", 6, "Johnson et al. 2017", 200, 200),
    PaperTask("DMLab", "Structured", 6, "Beattie et al. 2016", 100, 100),
    PaperTask("KITTI, distance", "Structured", 4, "Geiger et al. 2013", 50, 100),
    PaperTask("dSprites, location", "Structured", 16, "Matthey et al. 2017", 10, 100),
    PaperTask("dSprites, orientation", "Structured", 16, "Matthey et al. 2017", 50, 100),
    PaperTask("smallNORB, azimuth", "Structured", 18, "LeCun et al. 2004", 200, 200),
    PaperTask("smallNORB, elevation", "Structured", 9, "LeCun et al. 2004", 200, 200),
)
"""FGVC's five and VTAB-1k's nineteen (Zhai et al. 2019, which also sets the classes of the structured ones)."""


@dataclass(frozen=True)
class Row:
    """A method, its options for each task, and the multiple of one backbone that the paper prints for it.

    `printed` is None for methods that the paper's table does not have, or has in another form.
    """

    title: str
    method: str
    options: Callable[[PaperTask], dict[str, Any]]
    printed: float | None = None

    def cost(self, task: PaperTask) -> Cost:
        """What the task costs on ViT-B/16, in float32."""
        if self.method == ALEXNET:
            count = kept = alexnet_sidetune(VIT_B16, task.classes)
        else:
            wanted = self.method, self.options(task), VIT_B16, task.classes
            count, kept = learned(*wanted), stored(*wanted)
        return Cost(count, FLOAT32 * kept, whole=self.method == FULL)


ALEXNET = "sidetune with AlexNet"
_ALEXNET_CONVOLUTIONS, _ALEXNET_FEATURES = 2_469_696, 9216  # five convolutions (Krizhevsky 2014); 256 maps of 6 x 6


def alexnet_sidetune(shape: Shape, classes: int) -> int:
    """Numbers of the paper's sidetune: AlexNet's convolutions, a linear layer to the features' width, alpha, the head."""
    side = _ALEXNET_CONVOLUTIONS + linear(_ALEXNET_FEATURES, shape.features).total + 1
    return side + linear(shape.features, classes).total


def _same(**options: Any) -> Callable[[PaperTask], dict[str, Any]]:
    return lambda task: options


ROWS: tuple[Row, ...] = (
    Row("Full", FULL, _same(), 24.02),
    Row("Linear", "linear", _same(), 1.02),
    Row("Partial-1", "partial", _same(blocks=1), 3.00),
    Row("MLP-3", "mlp", _same(hidden_layers=2), 1.35),
    Row("Sidetune (AlexNet)", ALEXNET, _same(), 3.69),
    Row("Bias", "bias", _same(), 1.05),
    Row("VPT-shallow", "vpt-shallow", lambda task: {"prompts": task.shallow_or_deep}, 1.04),
    Row("VPT-deep", "vpt-deep", lambda task: {"prompts": task.deep}, 1.18),
    Row("Sidetune (ours)", "sidetune", _same()),
    Row("Adapter, r = 8", "adapter", _same(reduction=8)),
    Row("LoRA, rank 8", "lora", _same(rank=8)),
)


def paper_ledger() -> list[Entry]:
    """The 24 tasks with each row of `ROWS`, on one ViT-B/16 in float32."""
    backbone = FLOAT32 * VIT_B16.numbers.total
    return [entry(row.title, [row.cost(task) for task in TASKS], backbone) for row in ROWS]
