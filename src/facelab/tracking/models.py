"""Log a run's model in MLflow, and register it."""

import json
import re
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Run
from mlflow.exceptions import MlflowException

WEIGHTS_SHA256 = "model.sha256"
FILES = "artifacts"  # folder of the files within a logged model
REGISTER_FAULT = "register.fault"
_CODE = Path(__file__).with_name("served_model.py")
# Needed to load and run the model, each at the version that trained it; facelab brings them and all others.
_REQUIRED = ("facelab", "mlflow", "torch", "numpy", "pandas", "pillow", "safetensors")
_REFUSED_IN_NAMES = re.compile(r"[/:.%\"']+")
_IS_PROMPT = "mlflow.prompt.is_prompt"  # MLflow keeps prompts in the same registry, and would add the model to one
_EXISTS = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")
_PASSING = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED")


@dataclass(frozen=True)
class ModelInterface:
    """What a served model takes and returns.

    Args:
        inputs: columns, in the form in which MLflow writes a schema: `{"name": "image", "type": "string"}`.
        outputs: columns in the same form.
        example: rows of inputs.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    example: list[dict[str, Any]]


@dataclass(frozen=True)
class ModelRecord:
    """A model that a run has trained.

    Args:
        config: name of the config in the run's folder.
        weights: name of the weights in the run's folder.
        sha256: of the weights.
        interface: what the served model takes and returns.
        kind: name of the model's class.
        register: name under which a version is registered; None for none.
    """

    config: str
    weights: str
    sha256: str
    interface: ModelInterface
    kind: str
    register: str | None

    def as_item(self) -> dict[str, Any]:
        """As a record of the spool."""
        return asdict(self)

    @classmethod
    def of(cls, item: dict[str, Any]) -> "ModelRecord":
        """From a record of the spool."""
        return cls(**{**item, "interface": ModelInterface(**item["interface"])})


def log_model(run_id: str, record: ModelRecord, config: Path, weights: Path, client: MlflowClient) -> None:
    """Log a model of a run, and register it if asked. What an earlier call has done is not done again.

    Args:
        run_id: of the run.
        record: of the model.
        config: the run's config.
        weights: the run's weights.
        client: of the run's store.

    Raises:
        MlflowException, OSError, SQLAlchemyError: the store rejected it; a later call finishes the work.
    """
    run = client.get_run(run_id)
    model = _found(run, record.sha256, client) or client.create_logged_model(
        run.info.experiment_id,
        name=_REFUSED_IN_NAMES.sub(" ", run.info.run_name).strip() or "model",
        source_run_id=run_id,
        tags={WEIGHTS_SHA256: record.sha256},
        params={key: run.data.params[key] for key in ("model", "data", "split") if key in run.data.params},
        model_type=record.kind,
    )
    if model.status != "READY":
        place = weights.parent / ".model"
        shutil.rmtree(place, ignore_errors=True)  # left by a process that was killed
        try:
            _write(place, model, run_id, record, {"config": str(config), "weights": str(weights)})
            client.log_model_artifacts(model.model_id, str(place))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        client.finalize_logged_model(model.model_id, "READY")
    if model.model_id not in logged_models(run):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    if record.register is not None:
        _register(record.register, model, run_id, client)


def logged_models(run: Run) -> list[str]:
    """Ids of the models that a run has logged, the newest last."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []


def _found(run: Run, sha256: str, client: MlflowClient) -> LoggedModel | None:
    """The run's logged model of these weights, finished or not."""
    mine = f"source_run_id = '{run.info.run_id}' AND tags.`{WEIGHTS_SHA256}` = '{sha256}'"
    found = client.search_logged_models([run.info.experiment_id], mine, max_results=1)
    return found[0] if found else None


def _write(place: Path, model: LoggedModel, run_id: str, record: ModelRecord, files: dict[str, str]) -> None:
    """Write the folder of a logged model: MLmodel, code, config, weights, requirements and input example."""
    import mlflow.pyfunc  # deferred, like pandas: only the end of a training needs them
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema

    interface = record.interface
    schemas = (Schema.from_json(json.dumps(columns)) for columns in (interface.inputs, interface.outputs))
    mlflow.pyfunc.save_model(
        str(place),
        python_model=str(_CODE),
        artifacts=files,
        signature=ModelSignature(*schemas),
        input_example=pd.DataFrame(interface.example),
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _REQUIRED],
        mlflow_model=Model(
            artifact_path=model.artifact_location, run_id=run_id, model_uuid=model.model_id, model_id=model.model_id
        ),
    )
    _forget_places(place)


def _forget_places(place: Path) -> None:
    """Replace the paths of this machine that MLflow notes in MLmodel, which loading does not use."""
    from mlflow.models import Model  # deferred, as above

    described = Model.load(str(place))
    flavor = described.flavors["python_function"]
    flavor["model_code_path"] = _CODE.name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    described.save(str(place / "MLmodel"))


def _register(name: str, model: LoggedModel, run_id: str, client: MlflowClient) -> None:
    """Register a version, unless the run has one of this model.

    A refusal, such as of a name that a prompt has, becomes a tag of the run: it must not hold up the other records.
    """
    try:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code not in _EXISTS:
                raise
        if client.get_registered_model(name).tags.get(_IS_PROMPT) == "true":
            raise MlflowException.invalid_parameter_value("a prompt has this name; choose another one")
        known = client.search_model_versions(f"run_id = '{run_id}'")
        if not any(one.name == name and one.source == model.artifact_location for one in known):
            # The source is a place, not models:/<id>, which a sqlite store would look up in MLflow's global store.
            client.create_model_version(
                name, model.artifact_location, run_id, await_creation_for=None, model_id=model.model_id
            )
    except MlflowException as error:
        if error.error_code in _PASSING:
            raise
        client.set_tag(run_id, REGISTER_FAULT, f"tracking.register={name}: {error.message}"[:500])
