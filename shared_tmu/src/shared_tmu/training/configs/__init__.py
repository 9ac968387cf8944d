"""Hydra configurations that the training programs of the hand folders share; YAML files only."""
