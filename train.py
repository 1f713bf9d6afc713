"""Train a face recogniser: `python train.py model=cnn`, or a sweep: `python train.py -m model=cnn,cnn_arcface`."""

from facelab.cli import train

if __name__ == "__main__":
    raise SystemExit(train())
