"""Checks of what template.yaml says, for everything that only AWS itself would enforce."""
