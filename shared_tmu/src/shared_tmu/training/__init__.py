"""Training of thin models on SynthHand: data, dense supervision, initialisation, growth, optimiser."""
