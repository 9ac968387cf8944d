"""Classifiers of timm: importing them, which families can be patched, and their evaluation."""
