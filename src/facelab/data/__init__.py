"""Face data sets, splits, augmentation and data loaders."""

from facelab.data.augment import Augmentation, HeadTurn, SideLight
from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule
from facelab.data.source import FaceSource, Rows
from facelab.data.sources.bin import Bin
from facelab.data.sources.celeba import CelebA
from facelab.data.sources.concat import Concat
from facelab.data.sources.csv_file import CSV
from facelab.data.sources.face_nonface import FaceNonFace, FaceSpoiltFace
from facelab.data.sources.fer2013 import FER2013
from facelab.data.sources.folder import Folder
from facelab.data.sources.lfw import LFW
from facelab.data.sources.orl import ORL
from facelab.data.sources.pattern import Pattern
from facelab.data.sources.rafdb import RAFDB
from facelab.data.sources.recordio import RecordIO
from facelab.data.splits.base import Split, Splits
from facelab.data.splits.given import AllTest, Official
from facelab.data.splits.group_rules import GroupKFold, IdentityDisjoint, LeaveOneGroupOut
from facelab.data.splits.pair_folds import PairFolds
from facelab.data.splits.rules import FewShot, KFold, Ratio, RotatedFewShot

__all__ = [
    "CSV",
    "FER2013",
    "LFW",
    "ORL",
    "RAFDB",
    "AllTest",
    "Augmentation",
    "Bin",
    "CelebA",
    "Concat",
    "FaceDataModule",
    "FaceNonFace",
    "FaceSet",
    "FaceSource",
    "FaceSpoiltFace",
    "FewShot",
    "Folder",
    "GroupKFold",
    "HeadTurn",
    "IdentityDisjoint",
    "KFold",
    "LeaveOneGroupOut",
    "Official",
    "PairFolds",
    "Pattern",
    "Ratio",
    "RecordIO",
    "RotatedFewShot",
    "Rows",
    "SideLight",
    "Split",
    "Splits",
]
