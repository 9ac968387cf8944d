"""SynthBody: a procedural person in SMPL-X's format, its poses, and labelled pictures of it."""
