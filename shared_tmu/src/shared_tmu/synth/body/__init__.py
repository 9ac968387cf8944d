"""SynthBody: a procedural person in SMPL-X's format, its poses, and labelled pictures of it."""

from shared_tmu.synth.body.evalset import write_body_eval_set
from shared_tmu.synth.body.scene import BodyScene, sample_body_scene

__all__ = ["BodyScene", "sample_body_scene", "write_body_eval_set"]
