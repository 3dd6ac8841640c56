"""One pass through a frozen backbone in which every image may belong to another task.

Tasks meet only in the frozen weights, which are the same for all. What a task adds is its own and stands ready before any
image comes: in a ViT keys and values for the layers whose prompts are thrown away afterwards, tokens where prompts travel on,
sums where they are added to patches; in a Swin tokens for its windows. Images with fewer prompts than others get empty places,
which attention does not look at. So the pass is exact: it gives each image what its own model gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from timm.models.swin_transformer import PatchMerging
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vpt_core.backbones import Backbone
from vpt_core.methods import Linear, Prompted
from vpt_core.methods.base import Stage
from vpt_core.methods.keyed import block_beside, can_key, keys_and_values
from vpt_core.methods.windows import merged, prompted_block
from vpt_core.model import Model


@dataclass(frozen=True, eq=False)
class Plan:
    """What one task does in a pass that it shares; the dicts go by number of stage.

    beside      keys and values (p, 2, H, D) of prompts that nothing follows from but attention
    tokens      prompts (p, d) that take the `travelling` places between prefix and image tokens, or in every window, and
                are carried on until the next ones come
    added       what is added to the m image tokens, (m, d)
    rows        how many leading tokens the features are read from; None: not from these alone
    tail, head  what follows the last block; `reads_prompts`: its input has the travelling prompts
    """

    tail: list[Stage]
    head: nn.Linear
    rows: int | None
    beside: dict[int, Tensor] = field(default_factory=dict)
    tokens: dict[int, Tensor] = field(default_factory=dict)
    added: dict[int, Tensor] = field(default_factory=dict)
    travelling: int = 0
    reads_prompts: bool = False

    def places(self, i: int) -> int:
        """How many prompts travel through stage i."""
        return self.travelling if self.tokens and i >= min(self.tokens) else 0


@torch.no_grad()
def plan_of(model: Model) -> Plan | None:
    """How `model` takes part in a shared pass, computed once; None when it needs a pass of its own.

    A method takes part when it leaves the backbone's stages and their input as they are (linear, mlp), or when it is
    prompts in a ViT of timm's standard blocks or in a Swin.
    """
    method, backbone = model.method, model.backbone
    tail = method.stages[len(backbone.stages) - 1 :]
    if _only_reads(method, backbone):
        return Plan(tail, model.head, backbone.read_rows)
    if not isinstance(method, Prompted) or (backbone.family == "vit" and not all(map(can_key, backbone.blocks))):
        return None
    own = {i: method.own(i) for i in method.at}
    kind = "added" if method.options.place == "add" else "tokens"
    if method.keyed:
        kind, own = "beside", {i: keys_and_values(backbone.stages[i], prompts) for i, prompts in own.items()}
    travelling = method.options.prompts if kind == "tokens" else 0
    return Plan(tail, model.head, method.read_rows, **{kind: own}, travelling=travelling,
                reads_prompts=method.options.readout == "prompts")


def _only_reads(method: Linear, backbone: Backbone) -> bool:
    kind, shared = type(method), len(backbone.stages) - 1
    return kind.run is Linear.run and kind.before is Linear.before and method.stages[:shared] == backbone.stages[:shared]


class Pass:
    """A batch through the frozen backbone; image b belongs to the task of `plans[b]`. As it is, these are heads only."""

    def __init__(self, backbone: Backbone, plans: Sequence[Plan]) -> None:
        self.backbone = backbone
        self.plans = plans

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> list[Tensor]:
        """Logits (classes of its task,) of each of the pixels (B, 3, S, S) in [0, 1]."""
        x = self._through_blocks(self.backbone.stem(pixels))
        found: list[Tensor] = [torch.empty(0)] * len(self.plans)
        for plan in dict.fromkeys(self.plans):  # each task's images together
            mine = [b for b, other in enumerate(self.plans) if other is plan]
            for b, row in zip(mine, self._read(plan, x[mine]), strict=True):
                found[b] = row
        return found

    def _through_blocks(self, x: Tensor) -> Tensor:
        for block in self.backbone.blocks:
            x = block(x)
        return x

    def _read(self, plan: Plan, x: Tensor) -> Tensor:
        """Logits (n, classes) of what the last block puts out for images of one task."""
        for stage in plan.tail:
            x = stage(x)
        return plan.head(x)


class _SequencePass(Pass):
    """The pass through a ViT: [prefix, travelling prompts, image tokens], with the places that the longest of `plans` needs."""

    def __init__(self, backbone: Backbone, plans: Sequence[Plan]) -> None:
        super().__init__(backbone, plans)
        self.first: int = backbone.num_prefix_tokens
        self.places = max(plan.travelling for plan in plans)
        rows = [plan.rows for plan in plans]
        self.rows = None if None in rows else max(rows)

    def _through_blocks(self, x: Tensor) -> Tensor:
        """Tokens (B, first + m, d) to (B, first + places + m, d), or to the leading ones where no task reads more."""
        if self.places:
            x = torch.cat([x[:, : self.first], x.new_zeros(len(x), self.places, x.shape[2]), x[:, self.first :]], dim=1)
        blocks = self.backbone.blocks
        for i, block in enumerate(blocks, start=1):
            self._enter(i, x)
            if not self.places and not any(i in plan.beside for plan in self.plans):
                x = block(x)
                continue
            none = x.new_empty(0, 2, block.attn.num_heads, block.attn.head_dim)
            beside = pad_sequence([plan.beside.get(i, none) for plan in self.plans], batch_first=True)  # (B, p, 2, H, D)
            rows = self.rows if i == len(blocks) else None
            x = block_beside(block, x, beside, rows, self._seen(i, x.shape[1], beside.shape[1]))
        return x

    def _enter(self, i: int, x: Tensor) -> None:
        """Put each task's prompts of stage i into x, in place."""
        for tokens, plan in zip(x, self.plans, strict=True):  # views of x
            if i in plan.tokens:
                tokens[self.first : self.first + plan.travelling] = plan.tokens[i]
            if i in plan.added:
                tokens[self.first + self.places :] += plan.added[i]

    def _seen(self, i: int, tokens: int, beside: int) -> Tensor | None:
        """Mask (B, 1, 1, tokens + beside), False at the places that an image leaves empty in stage i; None without any."""
        counts = [(plan.places(i), len(plan.beside.get(i, ()))) for plan in self.plans]
        if all(count == (self.places, beside) for count in counts):
            return None
        mask = torch.ones(len(counts), 1, 1, tokens + beside, dtype=torch.bool)
        for row, (travelling, own) in zip(mask[:, 0, 0], counts, strict=True):
            row[self.first + travelling : self.first + self.places] = False
            row[tokens + own :] = False
        return mask

    def _read(self, plan: Plan, x: Tensor) -> Tensor:
        if self.places:
            kept = plan.travelling if plan.reads_prompts else 0
            x = torch.cat([x[:, : self.first + kept], x[:, self.first + self.places :]], dim=1)
        return super()._read(plan, x)


class _WindowPass(Pass):
    """The pass through a Swin: each image's prompts (p, C) stand in its windows, as in `run_windows`."""

    def _through_blocks(self, x: Tensor) -> Tensor:
        prompts = x.new_empty(len(x), 0, x.shape[3])  # (B, p, C) with the places of the longest
        for i, block in enumerate(self.backbone.blocks, start=1):
            if isinstance(block, PatchMerging):
                x, prompts = block(x), merged(block, prompts)
                continue
            prompts, empty = self._enter(i, prompts)
            if not prompts.shape[1]:
                x = block(x)
                continue
            x, told = prompted_block(block, x, prompts, self._carried(i), empty)
            prompts = prompts[:, :0] if told is None else told
        return x

    def _enter(self, i: int, before: Tensor) -> tuple[Tensor, Tensor | None]:
        """Prompts (B, p, C) in block i, a task's own or those from `before`; which places are empty (B, p), None if none."""
        each = [plan.tokens.get(i, told[: plan.places(i)]) for plan, told in zip(self.plans, before, strict=True)]
        counts = torch.tensor([len(own) for own in each])
        empty = torch.arange(int(counts.max())) >= counts[:, None]
        return pad_sequence(each, batch_first=True), empty if empty.any() else None

    def _carried(self, i: int) -> bool:
        """Whether prompts of any task go on from block i to the next."""
        following = [j for j in self.backbone.layers if j > i][:1]  # past a patch merging; none after the last
        return any(plan.places(i) and j not in plan.tokens for j in following for plan in self.plans)


_PASSES: dict[str, type[Pass]] = {"vit": _SequencePass, "swin": _WindowPass}


def pass_of(backbone: Backbone, plans: Sequence[Plan]) -> Pass:
    """The pass of images through `backbone`, of which image b belongs to the task of `plans[b]`."""
    return _PASSES.get(backbone.family, Pass)(backbone, plans)
