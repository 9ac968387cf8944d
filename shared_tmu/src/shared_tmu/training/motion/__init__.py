"""Training of the temporal diffusion decoder: motion, features of clips, two stages."""
