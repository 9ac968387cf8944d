"""Identities of hands and people in clips: who is who from frame to frame, and on which side."""
