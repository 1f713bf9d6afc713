"""facelab: train, track and compare face recognisers."""

import os

# albumentations asks the network for a newer version when it is imported; facelab never uses the network unasked.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would report its use to its makers
# OpenMP's waiting threads would burn the cores that loader workers and other people's processes need. Read once, when
# torch is loaded; inherited by every process that is started from here.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

__version__ = "0.1.0"
