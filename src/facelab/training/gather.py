"""Gather features and share buffers across processes."""

from collections.abc import Sequence

import torch
import torch.distributed as distributed

from facelab.models.base import Features


def gather_features(batches: Sequence[Features], world_size: int) -> Features:
    """Gather the features of all ranks, ordered by image number, without duplicates from sampler padding.

    Args:
        batches: features of this rank, at least one batch, with equal keys.
        world_size: number of processes; every process must call this function.

    Returns:
        The features of all images, the same on every rank, on the CPU.
    """
    own = {key: torch.cat([batch[key] for batch in batches]).cpu() for key in batches[0]}  # type: ignore[literal-required]
    shares = [own]
    if world_size > 1:
        gathered: list[dict[str, torch.Tensor] | None] = [None] * world_size
        distributed.all_gather_object(gathered, own)
        shares = [share for share in gathered if share is not None]
    joined = {key: torch.cat([share[key] for share in shares]) for key in own}
    first = _first_of_each(joined["index"])
    result: Features = {key: value[first] for key, value in joined.items()}  # type: ignore[assignment]
    return result


def share_buffers(module: torch.nn.Module, device: torch.device, world_size: int) -> None:
    """Broadcast the first rank's buffers, since batch-norm statistics differ per rank under manual optimisation."""
    if world_size > 1:
        for buffer in module.buffers():
            on_device = buffer.detach().to(device, copy=True)
            distributed.broadcast(on_device, src=0)
            buffer.copy_(on_device)


def _first_of_each(index: torch.Tensor) -> torch.Tensor:
    """Position of the first occurrence of each value, in the ascending order of the values."""
    order = torch.argsort(index, stable=True)
    ordered = index[order]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return order[is_first]
