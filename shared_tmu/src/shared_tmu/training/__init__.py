"""Training of thin models on SynthHand: data, dense supervision, initialisation, growth, optimiser."""

from shared_tmu.runtime.torchvision import declare_operators

declare_operators()  # before Lightning imports torchvision
