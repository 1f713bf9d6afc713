"""Photos: detect faces, align them, and record what was found; for `facelab align`."""
