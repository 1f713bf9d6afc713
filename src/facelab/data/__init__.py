"""Face data sets, splits, augmentation and data loaders."""

from facelab.data.augment import Augmentation, HeadTurn, SideLight
from facelab.data.faces import FaceSet
from facelab.data.group_split import GroupKFold, IdentityDisjoint, LeaveOneGroupOut
from facelab.data.module import FaceDataModule
from facelab.data.source import FaceSource, Rows
from facelab.data.sources.face_nonface import FaceNonFace, FaceSpoiltFace
from facelab.data.sources.folder import Folder
from facelab.data.sources.orl import ORL
from facelab.data.split import FewShot, KFold, Official, Ratio, Split, Splits

__all__ = [
    "ORL",
    "Augmentation",
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
    "Ratio",
    "Rows",
    "SideLight",
    "Split",
    "Splits",
]
