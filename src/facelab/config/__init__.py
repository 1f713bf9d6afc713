"""Configs: composed, checked, built and identified."""
