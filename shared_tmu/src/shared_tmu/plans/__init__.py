"""Merge plans: how they are made (`matching`, `ragged`) and applied (`ops`); `fused` does both in Triton, and
`reference` slowly, for tests.
"""
