"""Pictures: reading, listing, crops, cameras and rotations, rendering, overlays. Independent of models."""
