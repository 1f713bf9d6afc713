"""The smallest recogniser, and a short training of it."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from facelab.models.base import FaceModule, OneLossModule
from facelab.models.recipe import Cosine, Recipe
from facelab.training.callbacks.images_seen import ImagesSeen


class Pointwise(OneLossModule):
    """The smallest recogniser: three pixels in, three scores out."""

    def __init__(self, batch_size: int = 4) -> None:
        super().__init__(Recipe(batch_size=batch_size, schedule=Cosine(0.25), max_images=32))
        self.layer = nn.Linear(3, 3)
        self.rates: list[float] = []
        self.draws: list[float] = []
        self.history: list[Tensor] = []

    def embed(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.layer(images.flatten(1))
        return embeddings

    def classify(self, embeddings: Tensor) -> Tensor:
        return embeddings

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.rates.append(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        self.draws.append(torch.rand(()).item())
        return {"loss": nn.functional.cross_entropy(self.embed(batch["image"]), batch["label"])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        self.history.append(self.layer.weight.detach().clone())


def loader() -> DataLoader[dict[str, Tensor]]:
    """Eight batches of four."""
    torch.manual_seed(0)
    sample = [
        {
            "image": torch.randint(0, 256, (3, 1, 1), dtype=torch.uint8),
            "label": torch.tensor(i % 3),
            "index": torch.tensor(i),
        }
        for i in range(32)
    ]
    return DataLoader(sample, batch_size=4)  # type: ignore[arg-type]


def fit(module: FaceModule, *callbacks: pl.Callback) -> None:
    """Train on all batches once."""
    pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[ImagesSeen(32, seed=3), *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, loader())
