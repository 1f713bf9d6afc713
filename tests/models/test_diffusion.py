"""The diffusion model: what its steps, samples and embeddings depend on."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from facelab.data.faces import FaceSet
from facelab.models import ConditionalDiffusion, Constant, Diffusion, Recipe
from facelab.models.base import to_float
from facelab.models.edm import denoising_losses, training_noise
from facelab.models.sampling import arc, between_latents, interpolate, latents, sample
from facelab.nets import UNet


def _model(kind: type[Diffusion] = Diffusion, **changed: Any) -> Diffusion:
    """For grey images of 16 x 16 and three classes, without the zeros that it begins with."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "network": partial(UNet, widths=[8, 16], patch=2, depth=1),
        "optimizer": torch.optim.SGD,
        "recipe": Recipe(batch_size=8, schedule=Constant(), max_images=8),
        "steps": 4,
        "image_shape": (1, 16, 16),
        "num_classes": 3,
    }
    module = kind(**{**arguments, **changed})
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.1)
    module.step_seed = 5
    return module.eval()


def _batch(orl: FaceSet) -> dict[str, Tensor]:
    images = torch.stack([torch.from_numpy(orl.pixels[i][::2, ::2]).permute(2, 0, 1) for i in range(8)])
    return {"image": to_float(images), "label": torch.arange(8) % 3, "index": torch.arange(8)}


def test_a_step_depends_on_its_seed_alone(orl: FaceSet) -> None:
    batch, losses = _batch(orl), []
    for step_seed, state in ((5, 1), (5, 2), (6, 1)):
        module = _model()
        module.step_seed = step_seed
        torch.manual_seed(state)
        losses.append(float(module.training_step(batch, 0)["loss"].detach()))
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_is_that_of_the_paper_with_some_labels_dropped(orl: FaceSet) -> None:
    recipe = Recipe(batch_size=64, schedule=Constant(), max_images=64)
    module = _model(ConditionalDiffusion, recipe=recipe)
    batch = {name: values.repeat(8, *[1] * (values.ndim - 1)) for name, values in _batch(orl).items()}
    noise, levels, told = module._draws(64, module.device)
    labels = torch.where(told < 0.1, 3, batch["label"])
    assert 0 < (labels == 3).sum() < 20

    def losses(share: slice) -> Tensor:
        return denoising_losses(
            lambda images, level: module.network(images, level, labels[share]),
            batch["image"][share],
            noise[share],
            training_noise(levels[share]),
        )

    found = module.training_step(batch, 0)
    torch.testing.assert_close(found["loss"], losses(slice(None)).mean())
    torch.testing.assert_close(found["loss"], (losses(slice(0, None, 2)).mean() + losses(slice(1, None, 2)).mean()) / 2)
    assert found["terms"]["denoising_loss"] == found["loss"]


def test_validation_does_not_depend_on_batches(orl: FaceSet) -> None:
    module, batch = _model(ConditionalDiffusion), _batch(orl)
    whole = module.validation_step(batch, 0)["loss"]
    parts = [
        module.validation_step({name: values[start : start + 3] for name, values in batch.items()}, 0)["loss"]
        for start in (0, 3, 6)
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert module.validation_terms(module.validation_step(batch, 0))["denoising_loss"] == whole.mean()


def test_an_embedding_is_of_its_image_alone_and_knows_no_label(orl: FaceSet) -> None:
    module, images = _model(ConditionalDiffusion), _batch(orl)["image"]
    whole = module.embed(images)
    torch.testing.assert_close(module.embed(images[2:5]), whole[2:5], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        module.network.labels.weight[:3] += 1  # type: ignore[index, operator, union-attr]
    assert torch.equal(module.embed(images), whole)


def test_classes_that_only_synthetic_faces_show_are_learnt_and_not_sampled(orl: FaceSet) -> None:
    module, images = _model(ConditionalDiffusion), _batch(orl)["image"]
    before = module.embed(images)
    module.synthetic_classes = 1
    assert sample(module, 4, seed=0)[1].tolist() == [0, 1, 0, 1]
    assert torch.equal(module.embed(images), before)


def test_samples_depend_on_latent_and_label_alone() -> None:
    module = _model(ConditionalDiffusion)
    many, labels = sample(module, 7, seed=3)
    few, _ = sample(module, 2, seed=3)
    assert abs(many[:2].astype(int) - few).max() <= 1
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    own, _ = sample(module, 2, seed=3, label=2)
    assert (own[0] != many[0]).any()
    assert interpolate(module, 2, 3, seed=3).shape == (2, 3, 16, 16, 1)


def test_grids() -> None:
    faces = torch.zeros(2, 1, 16, 16)
    with torch.no_grad():
        for kind, rows in ((Diffusion, 4), (ConditionalDiffusion, 3)):
            module = _model(kind)
            (samples,) = module.sample_grids(faces).values()
            assert samples.shape == (rows, 8, 1, 16, 16)
            assert module.final_sample_grids(faces)["interpolations"].shape == (4, 8, 1, 16, 16)
            assert samples.abs().max() <= 1


def test_latents_between_two_stay_as_long_as_latents_are() -> None:
    between = between_latents(3, 7, 4096, seed=0)
    ends = latents(6, 4096, seed=0).reshape(3, 2, -1)
    torch.testing.assert_close(between[:, [0, -1]], ends)
    assert ((between.norm(dim=-1) / 64) - 1).abs().max() < 0.05
    angles = torch.nn.functional.cosine_similarity(between[:, 1:], between[:, :-1], dim=-1).acos()
    assert angles.std(dim=1).max() < 0.01  # equal steps
    several = latents(200, 64, seed=0)  # the cosine of some with themselves is rounded to above 1
    torch.testing.assert_close(arc(several, several, 4), several[:, None].expand(-1, 4, -1))


def test_a_model_of_a_face_and_its_negative_generates_these_two(orl: FaceSet) -> None:
    face = _batch(orl)["image"][:1]
    faces = torch.cat([face, -face])
    torch.manual_seed(0)
    module = Diffusion(
        network=partial(UNet, widths=[32], patch=4, depth=2, condition_dim=64),
        optimizer=partial(torch.optim.Adam, lr=3e-3),
        recipe=Recipe(batch_size=32, schedule=Constant(), max_images=32),
        steps=9,
        image_shape=(1, 16, 16),
        num_classes=2,
    )
    optimizer = module.configure_optimizers()
    batch = {"image": faces.repeat(16, 1, 1, 1), "label": torch.zeros(32, dtype=torch.int64)}
    for step in range(200):
        module.step_seed = step
        optimizer.zero_grad()
        torch.autograd.backward(module.training_step(batch, step)["loss"])
        optimizer.step()
    with torch.no_grad():
        samples = module.generate(latents(16, 256, seed=0), torch.zeros(16, dtype=torch.int64))
    distances = (samples[:, None] - faces).square().mean(dim=(2, 3, 4)).sqrt()
    nearer, further = distances.sort(dim=1).values.T
    assert nearer.mean() < further.mean() / 2, distances
    assert set(distances.argmin(dim=1).tolist()) == {0, 1}
