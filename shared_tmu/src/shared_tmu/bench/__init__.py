"""Speed and cost of models, with and without merging, compared with the slicing floor, in every runtime."""
