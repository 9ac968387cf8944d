"""How a model runs: packed weights, number formats, CUDA graphs."""
