"""The signature is the schema."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from facelab.commands.train import TrainConfig
from facelab.config.build import build, resolve_target
from facelab.config.check import check, plain
from facelab.config.compose import config_folder
from facelab.config.identity import config_hash, flatten
from facelab.errors import ConfigError


def _composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return plain(compose("train", list(overrides)))


def _complaint(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(_composed(*overrides), TrainConfig, overlays=["few_shot=sweep"])
    return str(caught.value)


def test_the_default_config_is_right_and_builds() -> None:
    config = _composed()
    check(config, TrainConfig)
    assert TrainConfig(**build(config)).seed == 1


@pytest.mark.parametrize(
    ("override", "key", "says"),
    [
        ("seed=abc", "seed", "valid integer"),
        ("seed='3'", "seed", "valid integer"),
        ("seed=true", "seed", "valid integer"),
        ("seed=1.5", "seed", "valid integer"),
        ("data.channels=2", "data.channels", "1 or 3"),
        ("data.image_size=4", "data.image_size", "greater than or equal to 8"),
        ("trainer.precision=bf17", "trainer.precision", "'bf16-mixed'"),
        ("model.recipe.batch_size=0", "model.recipe.batch_size", "greater than or equal to 1"),
        ("+model.recipe.max_image=3", "model.recipe.max_image", "Did you mean 'max_images'?"),
        ("+modle=3", "modle", "Did you mean 'model'?"),
        ("+few_shots=3", "few_shots", "Did you mean 'few_shot'?"),
        ("~model.optimizer.fused", "", ""),
        ("~model.recipe.batch_size", "model.recipe.batch_size", "required and missing"),
        ("model.encoder.widths=[8,x]", "model.encoder.widths.1", "valid integer"),
        ("model.encoder=3", "model.encoder", "callable"),
        ("model.recipe=3", "model.recipe", "Recipe"),
        ("model=cnn_classic model.recipe.schedule._target_=torch.nn.ReLU", "model.recipe.schedule", "Schedule"),
        ("model._target_=facelab.models.CMN", "model._target_", "Did you mean 'CNN'?"),
        ("model._target_=facelab.model.CNN", "model._target_", "has no 'model'"),
        ("augment.transforms.0._target_=albumentations.HorizontalFlop", "augment.transforms.0._target_", "Flip"),
        ("augment.transforms.0.p=7", "augment.transforms.0.p", "less than or equal to 1"),
        ("+augment.transforms.0.q=7", "augment.transforms.0.q", "unknown key"),
        ("+model.num_classes=7", "model.num_classes", "facelab sets this argument itself"),
        ("+model.encoder.image_shape=[1,9,9]", "model.encoder.image_shape", "facelab sets this argument itself"),
    ],
)
def test_a_wrong_value_is_named_by_its_full_key(override: str, key: str, says: str) -> None:
    if not says:
        check(_composed(*override.split()), TrainConfig)  # an argument with a default may be left out
        return
    complaint = _complaint(*override.split())
    assert complaint.startswith(f"{key}: "), complaint
    assert says in complaint


def test_a_number_that_is_no_number_is_one_problem() -> None:
    complaint = _complaint("model.optimizer.lr=.inf")
    assert "isinstance" not in complaint
    assert complaint.count("model.optimizer.lr") == 1


def test_all_problems_are_reported_at_once() -> None:
    complaint = _complaint("seed=x", "data.channels=7", "+model.colour=red", "split.seed=-1")
    for key in ("seed", "data.channels", "model.colour", "split.seed"):
        assert f"- {key}: " in complaint


def test_an_unknown_root_key_names_the_experiments() -> None:
    assert "+few_shot=sweep" in _complaint("+experiment=typo")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "facelab.config.build.os.system",
        "pytorch_lightning.trainer.trainer.os.mkdir",
        "facelab.config.build.importlib.import_module",
        "facelab.config.build.ALLOWED_PACKAGES",
        "builtins.eval",
        "torch.hub.load",
        "facelab",
        "",
        3,
    ],
)
def test_what_is_not_ours_to_call_is_refused(target: object) -> None:
    with pytest.raises(ConfigError):
        resolve_target(target)


def test_a_module_outside_the_allowed_packages_is_not_even_imported() -> None:
    import sys

    assert "antigravity" not in sys.modules
    with pytest.raises(ConfigError, match="FACELAB_ALLOW"):
        resolve_target("antigravity.fly")
    assert "antigravity" not in sys.modules


def test_packages_of_ones_own_are_allowed_by_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError):
        resolve_target("fractions.Fraction")
    monkeypatch.setenv("FACELAB_ALLOW", "fractions")
    assert resolve_target("fractions.Fraction").__name__ == "Fraction"


def test_every_missing_value_and_broken_interpolation_is_named() -> None:
    config = OmegaConf.create({"a": "???", "b": {"c": "${nowhere}"}, "d": 1})
    with pytest.raises(ConfigError) as caught:
        plain(config)
    assert "- a: has no value yet" in str(caught.value)
    assert "- b.c: " in str(caught.value)


def test_flatten_names_list_entries() -> None:
    nested = {"a": {"b": 1, "c": []}, "d": [{"e": 2}, {"e": 3}], "f": [1, 2]}
    assert flatten(nested) == {"a.b": 1, "a.c": [], "d.0.e": 2, "d.1.e": 3, "f": [1, 2]}


def test_a_config_has_an_identity() -> None:
    one = config_hash(_composed())
    assert len(one) == 64
    same = ("name=other", "runtime.workers=0", "runtime.runs_folder=x", "tracking.folder=y", "trainer.devices=2")
    assert {config_hash(_composed(override)) for override in same} == {one}
    different = ("seed=2", "trainer.threads=1", "split.seed=1", "data.image_size=32", "model.optimizer.lr=0.1")
    assert len({config_hash(_composed(override)) for override in different} | {one}) == len(different) + 1
    # The command line's order and the place a value comes from do not matter.
    first, second = (
        _composed(*overrides) for overrides in (("seed=2", "data.channels=3"), ("data.channels=3", "seed=2"))
    )
    assert config_hash(first) == config_hash(second)


def test_a_model_may_choose_its_augmentation_and_the_command_line_has_the_last_word() -> None:
    def transforms(*overrides: str) -> list[str]:
        return [node["_target_"] for node in _composed(*overrides)["augment"]["transforms"]]

    assert transforms("model=gan") == transforms("model=gan_conditional") == transforms("model=dcgan") == []
    assert transforms("model=gan", "augment=light") == transforms("augment=light")
    assert transforms("model=autoencoder") == transforms("augment=medium")
    assert transforms("model=autoencoder_denoising") == transforms("augment=standard") == transforms()
