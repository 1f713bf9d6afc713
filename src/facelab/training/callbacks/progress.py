"""Progress bars of training and of computing embeddings."""

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from facelab.models.base import FaceModule

_SHOWN = {
    "train/loss": "loss",
    "train/accuracy": "acc",
    "train/psnr": "PSNR dB",
    "train/generator_loss": "G loss",
    "train/discriminator_loss": "D loss",
    "val/accuracy": "val acc",
    "val/f1": "val f1",
    "train/images_per_second": "images/s",
}
_PLAIN_LINES = 10
_EMBEDDING_REPORT_S = 10.0


class ProgressBar(pl.Callback):
    """Shows images seen, ETA and the latest values; without a terminal, prints a line every tenth of the run.

    Args:
        console: the console to draw on.
        total_images: length of the run in images seen.
    """

    def __init__(self, console: Console, total_images: int) -> None:
        self._console, self._total = console, total_images
        self._values: dict[str, float] = {}
        self._bar: Progress | None = None
        self._next_line = 0.0
        self._to_embed = self._embedded = 0
        self._began = self._next_report = 0.0

    def show(self, values: Mapping[str, float], images_seen: int) -> None:
        """Update the values shown."""
        self._values.update(values)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar."""
        assert isinstance(pl_module, FaceModule)
        line = self._total / _PLAIN_LINES
        self._next_line = line * (pl_module.images_seen // line + 1)
        self._begin("training", self._total, pl_module.images_seen)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance."""
        assert isinstance(pl_module, FaceModule)
        seen = pl_module.images_seen
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=seen, values=self._text())
        elif seen >= self._next_line:
            self._next_line += self._total / _PLAIN_LINES
            self._console.print(
                f"{seen:>9,} of {self._total:,} images  {self._text()}", highlight=False, soft_wrap=True
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the bar and leave it on the screen."""
        self._stop()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw a bar of the images embedded."""
        loaders: Any = trainer.predict_dataloaders
        self._to_embed, self._embedded = len(loaders.batch_sampler.sampler), 0
        self._values, self._began = {}, time.monotonic()
        self._next_report = self._began + _EMBEDDING_REPORT_S
        self._begin("embedding", self._to_embed, 0)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance."""
        self._embedded += len(batch["index"])
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._embedded)
        elif time.monotonic() >= self._next_report:
            self._next_report += _EMBEDDING_REPORT_S
            eta_s = (time.monotonic() - self._began) * (self._to_embed / self._embedded - 1)
            done = f"{self._embedded:>9,} of {self._to_embed:,} images embedded"
            self._console.print(f"{done}  ETA {eta_s:.0f} s", highlight=False, soft_wrap=True)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the bar where it stopped."""
        self._stop()

    def _begin(self, task: str, total: int, completed: int) -> None:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn(task),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("images"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
                console=self._console,
                refresh_per_second=4,
                transient=task == "embedding",
            )
            self._bar.start()
            self._bar.add_task("", total=total, completed=completed, values="")

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], values=self._text(), refresh=True)
            self._bar.stop()
            self._bar = None

    def _text(self) -> str:
        shown = ((label, self._values[key]) for key, label in _SHOWN.items() if key in self._values)
        return "  ".join(f"{label} {value:.0f}" if value >= 100 else f"{label} {value:.3f}" for label, value in shown)
