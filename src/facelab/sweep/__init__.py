"""Sweeps: a parent run in MLflow, a process for each job, and resumption of what is missing."""

from facelab.sweep.local import Local
from facelab.sweep.search import CMAES, TPE, Grid, Random
from facelab.sweep.settings import SweepSettings
from facelab.sweep.slurm import Slurm

__all__ = ["CMAES", "TPE", "Grid", "Local", "Random", "Slurm", "SweepSettings"]
