"""Tests of facelab, which is imported before torch: it sets how the threads of OpenMP wait, which is read only once."""

import facelab as facelab
