"""The code of every logged model. MLflow copies this file into the model, and runs the copy to load the model.

It is a program of MLflow's, above all rooms of the package: facelab's own code is imported by name when a model is
loaded, and the copy holds none of it.
"""

import importlib
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedModel(PythonModel):  # type: ignore[misc]
    """A trained model of facelab, which checks its config and its weights before anything is built from them."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load config and weights."""
        served = importlib.import_module("facelab.exporting.served")
        self._model = served.Served.load(Path(context.artifacts["weights"]).parent)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Outputs for a table of inputs; a faulty row fails the request with a message that names it."""
        from facelab.errors import FacelabError

        try:
            return self._model.predict(model_input)
        except FacelabError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


set_model(ServedModel())
