"""The commands of `facelab`, one or two in each module."""
