"""Compose, check, build and hash configs."""
