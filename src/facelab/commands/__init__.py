"""One file for each command of `facelab`."""
