"""What many tasks cost on one backbone: closed formulas of learned numbers, and the ledger of what is kept. No torch."""

from vpt_core.ledger.account import FLOAT32, Cost, Entry, entry, ledger, table
from vpt_core.ledger.formulas import FORMULAS, FULL, learned, stored
from vpt_core.ledger.paper import ROWS, TASKS, paper_ledger
from vpt_core.ledger.shapes import SHAPES, SWIN_B, VIT_B16, VIT_H14, VIT_L16, Shape, Swin, Vit

__all__ = [
    "FLOAT32", "FORMULAS", "FULL", "ROWS", "SHAPES", "SWIN_B", "TASKS", "VIT_B16", "VIT_H14", "VIT_L16", "Cost", "Entry",
    "Shape", "Swin", "Vit", "entry", "learned", "ledger", "paper_ledger", "stored", "table",
]
