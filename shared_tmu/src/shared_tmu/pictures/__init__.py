"""Pictures: reading, listing, crops, cameras and rotations, rendering, overlays. Knows no model."""
