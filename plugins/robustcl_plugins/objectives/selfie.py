"""Selfie: which of the hidden patches belongs at a given place, asked of what the other patches show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import annotated_types
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcl.contrast import wide
from robustcl.errors import UsageError
from robustcl.options import Count
from robustcl.protocols import Need
from robustcl.types import Dims, Scene
from robustcl_plugins.objectives.pretext import target_of


class Selfie(nn.Module):
    """Cross-entropy of placing hidden patches, summed over the places and averaged over the views.

    A view is an image in patches (the view ``patches``), embedded one by one: h (B, P, F), with their places (B, P)
    as target. The first ``hidden`` patches are hidden, the rest are context. Attention pooling, layers of
    self-attention over a learnt query and the context, gives u (B, F). For hidden patch i at row r_i and column c_i
    of the grid the scores of all hidden patches j are s_ij = (u + R[r_i] + C[c_i]) . h_j, and the loss is
    sum_i -log softmax_j(s_i)[i]. Context patches carry no place, as in the released code. All weights of the pooling
    belong to the objective. There is no dropout (the code has 0.1): an objective draws no random numbers.

    grid: patches along each side; the view's grid must be the same.
    hidden: how many of them are hidden.
    depth, heads, width, inner: layers of attention pooling, heads of each, numbers in a head, and in the feed-forward
        layer; the defaults are those of the released code.
    softmax: "once", the cross-entropy of the scores; "twice", of the scores' softmax taken for scores, as the released
        code does in training and attack: the loss of a place then lies within 1 of log(hidden).

    Term ``ce``: (B,).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.TARGET})
    citation: ClassVar[str] = (
        "T. H. Trinh, M.-T. Luong, Q. V. Le, Selfie: Self-supervised Pretraining for Image Embedding, 2019, section 2; "
        "as a robust pretext task T. Chen, S. Liu, S. Chang, Y. Cheng, L. Amini, Z. Wang, Adversarial Robustness: "
        "From Self-Supervised Pre-Training to Fine-Tuning, CVPR 2020"
    )
    views: ClassVar[tuple[str, ...]] = ("*",)
    terms: ClassVar[tuple[str, ...]] = ("ce",)
    separable: ClassVar[bool] = True

    def __init__(
        self,
        *,
        grid: Annotated[int, annotated_types.Ge(2)] = 4,
        hidden: Annotated[int, annotated_types.Ge(2)] = 4,
        depth: Count = 13,
        heads: Count = 16,
        width: Count = 64,
        inner: Count = 2048,
        softmax: Literal["once", "twice"] = "once",
    ) -> None:
        super().__init__()
        self.grid = grid
        self.hidden = hidden
        self.depth = depth
        self.heads = heads
        self.width = width
        self.inner = inner
        self.softmax = softmax

    @property
    def patches(self) -> int:
        """The number of patches of an image."""
        return self.grid**2

    def build(self, dims: Dims) -> None:
        """Make the pooling and the embeddings of rows and columns.

        Raises UsageError where every patch would be hidden.
        """
        if self.hidden >= self.patches:
            raise UsageError(
                f"selfie: hidden = {self.hidden} leaves no context of {self.patches} patches: hide fewer, "
                f"e.g. hidden = {max(2, self.patches // 4)}, or take a finer grid"
            )
        self.pooling = nn.ModuleList(
            AttentionLayer(dims.features, self.heads, self.width, self.inner) for _ in range(self.depth)
        )
        self.query = nn.Parameter(torch.zeros(dims.features))
        # Not "rows": by that name the core asks an objective whether it reads rows.
        self.row_places = nn.Parameter(torch.randn(self.grid, dims.features))
        self.column_places = nn.Parameter(torch.zeros(self.grid, dims.features))

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        losses = [self._loss(name, wide(e.h), target_of(scene, name)) for name, e in scene.views.items()]
        return {"ce": torch.stack(losses).mean(0)}

    def _loss(self, name: str, h: Tensor, places: Tensor) -> Tensor:
        if h.dim() != 3 or h.shape[1] != self.patches or places.shape != h.shape[:2]:
            raise UsageError(
                f"selfie: the view {name!r} has features {tuple(h.shape)} and targets {tuple(places.shape)} instead of "
                f'{self.patches} patches and their places for each image: bind a view {{ use = "patches", '
                f"grid = {self.grid} }}, or set the objective's grid to the view's"
            )
        hidden, context = h[:, : self.hidden], h[:, self.hidden :]
        x = torch.cat([self.query.to(h.dtype).expand(len(h), 1, -1), context], dim=1)
        for layer in self.pooling:
            x = layer(x)
        at = places[:, : self.hidden]
        there = self.row_places.to(h.dtype)[at // self.grid] + self.column_places.to(h.dtype)[at % self.grid]
        scores = (x[:, :1] + there) @ hidden.transpose(1, 2)  # (B, place, patch)
        if self.softmax == "twice":
            scores = scores.softmax(dim=2)
        return -scores.log_softmax(dim=2).diagonal(dim1=1, dim2=2).sum(dim=1)


class AttentionLayer(nn.Module):
    """Self-attention and a feed-forward layer (GELU), each with its input added and normalised afterwards.

    Vaswani et al., Attention Is All You Need, NIPS 2017, section 3.1, on x (B, N, F) without masks.
    """

    def __init__(self, features: int, heads: int, width: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(features, 3 * heads * width)
        self.out = nn.Linear(heads * width, features)
        self.first, self.second = nn.Linear(features, inner), nn.Linear(inner, features)
        self.norms = nn.ModuleList([nn.LayerNorm(features), nn.LayerNorm(features)])

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, F)."""
        q, k, v = _linear(self.qkv, x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        x = _normed(self.norms[0], x + _linear(self.out, (weights @ v).transpose(1, 2).flatten(2)))
        return _normed(self.norms[1], x + _linear(self.second, F.gelu(_linear(self.first, x), approximate="tanh")))


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _normed(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.LayerNorm)
    return F.layer_norm(x, x.shape[-1:], layer.weight.to(x.dtype), layer.bias.to(x.dtype), layer.eps)
