"""Face data sets, splits, augmentation and data loaders."""

from facelab.data.augment import Augmentation, HeadTurn, SideLight
from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule
from facelab.data.source import FaceSource, Rows
from facelab.data.sources.bin import Bin
from facelab.data.sources.celeba import CelebA
from facelab.data.sources.face_nonface import FaceNonFace, FaceSpoiltFace
from facelab.data.sources.fer2013 import FER2013
from facelab.data.sources.folder import Folder
from facelab.data.sources.orl import ORL
from facelab.data.sources.rafdb import RAFDB
from facelab.data.sources.recordio import RecordIO
from facelab.data.split import FewShot, IdentityDisjoint, KFold, Official, Ratio, Split, Splits

__all__ = [
    "FER2013",
    "ORL",
    "RAFDB",
    "Augmentation",
    "Bin",
    "CelebA",
    "FaceDataModule",
    "FaceNonFace",
    "FaceSet",
    "FaceSource",
    "FaceSpoiltFace",
    "FewShot",
    "Folder",
    "HeadTurn",
    "IdentityDisjoint",
    "KFold",
    "Official",
    "Ratio",
    "RecordIO",
    "Rows",
    "SideLight",
    "Split",
    "Splits",
]
