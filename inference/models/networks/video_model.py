"""A backbone and every head that uses its tokens, as one module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from inference.models.networks.heads import Head
from inference.models.networks.transforms import BatchUpload, Normalise

VECTORS = "vectors:"  # before a head's name: the vectors that it classifies in place of probabilities

Probabilities = npt.NDArray[np.float32]  # or vectors
Features = Callable[[Tensor], Tensor]
"""uint8 clips ``(B, T, H, W, 3)`` on the device -> tokens ``(B, tokens, hidden_size)``."""


class VideoModel(nn.Module):
    """uint8 clips in, each head's class probabilities out; the backbone runs once per batch."""

    def __init__(self, normalise: Normalise, backbone: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self._places = {name: place for place, name in enumerate(heads)}
        self.heads = nn.ModuleList(heads.values())  # a list, because a head's name may hold dots and a module's may not

    def features(self, clips: Tensor) -> Tensor:
        """Tokens ``(B, tokens, hidden_size)`` of uint8 clips ``(B, T, H, W, 3)`` on the model's device."""
        tokens: Tensor = self.backbone(self.normalise(clips))
        return tokens

    def probabilities(self, head: str, tokens: Tensor) -> Tensor:
        """Class probabilities ``(B, labels)``, float32."""
        return self.probabilities_of(head, self._head(head).reduce(tokens))

    def vectors(self, head: str, tokens: Tensor) -> Tensor:
        """Vectors ``(B, …)`` that the head classifies, float32."""
        return self._head(head).reduce(tokens).float()

    def probabilities_of(self, head: str, vectors: Tensor) -> Tensor:
        """Class probabilities ``(B, labels)`` of the head's :meth:`vectors`, float32.

        On a CPU one clip at a time: its last bits then do not depend on the clips beside it.
        """
        module = self._head(head)
        own = vectors.to(next(self.heads.parameters()).dtype)
        rows = [own[place : place + 1] for place in range(len(own))] if own.device.type == "cpu" else [own]
        return torch.cat([module.classify(row).float().softmax(dim=-1) for row in rows])

    def _head(self, name: str) -> Head:
        module: Head = self.heads[self._places[name]]  # type: ignore[assignment]  # a list of modules has no types
        return module

    def classify(self, tokens: Tensor, rows: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Head -> probabilities ``(len(rows[head]), labels)`` of the batch's clips at ``rows[head]``.

        Of a name that begins with :data:`VECTORS`, the vectors.
        """
        return {name: self._answer(name, _pick(tokens, wanted)) for name, wanted in rows.items()}

    def _answer(self, name: str, tokens: Tensor) -> Tensor:
        head = name.removeprefix(VECTORS)
        return self.probabilities(head, tokens) if head == name else self.vectors(head, tokens)

    def forward(self, clips: Tensor, rows: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """Run :meth:`features`, then :meth:`classify`."""
        return self.classify(self.features(clips), rows)


class ClipScorer:
    """Scores a batch of host clips on a device; the ``score`` of :class:`~inference.models.batcher.Batcher`."""

    def __init__(
        self, model: VideoModel, device: torch.device, *, features: Features | None = None, max_batch: int = 1
    ) -> None:
        self.model = model
        self.device = device
        self._features = features or model.features
        self._upload = BatchUpload(device, max_batch)

    def __call__(
        self, clips: Sequence[Tensor], heads: Sequence[Sequence[str]], size: int
    ) -> list[dict[str, Probabilities]]:
        """Return per clip: head -> probabilities ``(labels,)``. The batch is padded to ``size`` clips."""
        rows: dict[str, list[int]] = {}
        for row, wanted in enumerate(heads):
            for head in wanted:
                rows.setdefault(head, []).append(row)
        with torch.inference_mode():
            answers = self.model.classify(self._features(self._upload(clips, size)), rows)
            on_host = {head: answer.cpu().numpy() for head, answer in answers.items()}
        scores: list[dict[str, Probabilities]] = [{} for _ in clips]
        for head, wanted_rows in rows.items():
            for place, row in enumerate(wanted_rows):
                scores[row][head] = on_host[head][place]
        return scores


def _pick(tokens: Tensor, rows: Sequence[int]) -> Tensor:
    if list(rows) == list(range(len(tokens))):
        return tokens  # every clip: no copy of the tokens
    return tokens[torch.tensor(rows, device=tokens.device)]
