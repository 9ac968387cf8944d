"""SynthHand: a procedural hand in MANO's format, its poses, and labelled pictures of it."""

from shared_tmu.synth.evalset import write_eval_set
from shared_tmu.synth.scene import Difficulty, Scene, sample_scene

__all__ = ["Difficulty", "Scene", "sample_scene", "write_eval_set"]
