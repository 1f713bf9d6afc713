"""Bring together what all processes found, each picture once."""

from collections.abc import Sequence

import torch
import torch.distributed as distributed

from facelab.models.base import Features


def gather_features(batches: Sequence[Features], world_size: int) -> Features:
    """Join batches of all ranks, ordered by picture number; pictures that padding showed twice are dropped.

    Args:
        batches: this rank's, at least one, of equal keys.
        world_size: number of processes; every one of them must call this.

    Returns:
        The same on every rank, on the CPU.
    """
    own = {key: torch.cat([batch[key] for batch in batches]).cpu() for key in batches[0]}  # type: ignore[literal-required]
    shares = [own]
    if world_size > 1:
        gathered: list[dict[str, torch.Tensor] | None] = [None] * world_size
        distributed.all_gather_object(gathered, own)
        shares = [share for share in gathered if share is not None]
    joined = {key: torch.cat([share[key] for share in shares]) for key in own}
    _, first = _first_of_each(joined["index"])
    result: Features = {key: value[first] for key, value in joined.items()}  # type: ignore[assignment]
    return result


def share_buffers(module: torch.nn.Module, device: torch.device, world_size: int) -> None:
    """Give all ranks the first one's buffers: with several optimisers, batch-norm statistics stay each rank's own."""
    if world_size > 1:
        for buffer in module.buffers():
            on_device = buffer.detach().to(device, copy=True)
            distributed.broadcast(on_device, src=0)
            buffer.copy_(on_device)


def _first_of_each(index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct values, rising, and where each occurs first."""
    order = torch.argsort(index, stable=True)
    ordered = index[order]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first], order[is_first]
