"""SynthHand: a procedural hand in MANO's format, its poses, and labelled pictures of it."""
