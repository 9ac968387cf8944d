"""Speed and cost of models: merged, unmerged, against the slicing floor, in every runtime."""
