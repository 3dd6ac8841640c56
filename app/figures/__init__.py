"""Charts: a run or a result in, the value of `app.components.plot` out."""

from app.figures.accuracy import accuracy_figure
from app.figures.answer import answer_figure
from app.figures.attention import many_shares_figure, shares_figure
from app.figures.attribution import deletion_figure, prompts_figure
from app.figures.knockout import knockout_figure
from app.figures.ledger import ledger_figure
from app.figures.maps import map_figure
from app.figures.near import among_figure
from app.figures.scores import classes_figure, confusion_figure
from app.figures.trap import trap_figure

__all__ = [
    "accuracy_figure", "among_figure", "answer_figure", "classes_figure", "confusion_figure", "deletion_figure",
    "knockout_figure", "ledger_figure", "many_shares_figure", "map_figure", "prompts_figure", "shares_figure", "trap_figure",
]  # fmt: skip
