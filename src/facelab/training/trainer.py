"""Hardware and precision of training."""

import logging
import warnings
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import pytorch_lightning as pl
import torch
from pydantic import Field
from pytorch_lightning.strategies import DDPStrategy

from facelab.errors import ConfigError
from facelab.system import cores
from facelab.training.callbacks.validation import ValidationSteps
from facelab.training.checkpoint import CheckpointFiles

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of the trainer: hardware, precision and validations.

    Args:
        accelerator: `auto` selects a GPU if there is one.
        devices: number of processes that share a batch: one per GPU, or on the CPU, connected by gloo.
        precision: `auto` selects bf16-mixed where the hardware computes in it (CPUs with AVX512-BF16 or AMX, GPUs from
            Ampere on), else 32-true.
        threads: CPU threads per process, recorded because their number changes rounding; null divides all cores among
            the processes.
        validations: number of validations per run, evenly spaced and the last one at its end, if the split has
            validation images; at every step if it has fewer.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Field(ge=1)] = 1
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    validations: Annotated[int, Field(ge=1)] = 20

    def resolved(self) -> "TrainerSettings":
        """The settings with every `auto` and null resolved for this machine.

        Raises:
            ConfigError: there are fewer GPUs than configured.
        """
        gpus = torch.cuda.device_count()
        accelerator: Literal["cpu", "gpu"]
        accelerator = ("gpu" if gpus else "cpu") if self.accelerator == "auto" else self.accelerator
        if accelerator == "gpu" and gpus < self.devices:
            raise ConfigError(
                f"trainer.accelerator=gpu, trainer.devices={self.devices}: this machine has {gpus} CUDA devices. "
                "Set trainer=cpu, or fewer trainer.devices."
            )
        precision = (
            ("bf16-mixed" if _computes_in_bf16(accelerator) else "32-true")
            if self.precision == "auto"
            else (self.precision)
        )
        threads = self.threads or max(1, cores() // self.devices)
        return replace(self, accelerator=accelerator, precision=precision, threads=threads)

    def refuse_auto(self) -> None:
        """Require explicit settings for a run on another machine.

        Raises:
            ConfigError: a setting is `auto`; the message names it.
        """
        open_keys = {"accelerator": "cpu or gpu", "precision": "32-true or bf16-mixed"}
        left = [f"trainer.{key}={choices}" for key, choices in open_keys.items() if getattr(self, key) == "auto"]
        if left:
            raise ConfigError(
                f"trainer: `auto` cannot be resolved for another machine, where this run is trained. Set "
                f"{' and '.join(left)}."
            )

    def use_threads(self) -> None:
        """Compute with this number of threads in this process from now on."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def make(
        self,
        callbacks: list[pl.Callback],
        total_batches: int,
        has_validation: bool,
        several_losses: bool = False,
    ) -> pl.Trainer:
        """Create a Lightning trainer for one pass over a loader of `total_batches`; settings must be resolved.

        Args:
            callbacks: in the order of their calls.
            total_batches: number of steps of the run.
            has_validation: whether the split has validation images.
            several_losses: whether a step has several losses, each without gradients for some of the weights.
        """
        self.use_threads()
        torch.backends.cudnn.deterministic = True  # else cuDNN may add in varying order
        _quiet_lightning()
        return pl.Trainer(
            accelerator=self.accelerator,
            devices=self.devices if self.devices > 1 else 1,
            strategy=DDPStrategy(find_unused_parameters=several_losses) if self.devices > 1 else "auto",
            precision="32-true" if self.precision == "auto" else self.precision,
            callbacks=[ValidationSteps(self.validations, total_batches), *callbacks] if has_validation else callbacks,
            max_epochs=1,
            max_steps=-1,
            val_check_interval=1 if has_validation else None,  # until the callback sets it
            check_val_every_n_epoch=None if has_validation else 1,
            limit_val_batches=None if has_validation else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            plugins=[CheckpointFiles()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def _computes_in_bf16(accelerator: str) -> bool:
    if accelerator == "gpu":
        return torch.cuda.get_device_capability() >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _quiet_lightning() -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")  # it starts at images_seen
    warnings.filterwarnings("ignore", message=".*persistent_workers.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # a frozen encoder
    warnings.filterwarnings("ignore", message=".*srun.*")  # Slurm jobs start their own processes
    warnings.filterwarnings("ignore", message=".*on_after_batch_transfer.*")
