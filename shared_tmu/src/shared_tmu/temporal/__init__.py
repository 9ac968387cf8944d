"""FastHMR's temporal diffusion decoder: poses of a whole clip from one feature per frame, in one step.

A variational autoencoder (VAE) compresses motion to a few latent vectors; a denoiser that reads the features
of all frames predicts these latents from noise in one call. A motion is joints and twists, not rotations.

Legend: B clips, T frames, K points of a skeleton, J joints with a rotation, F values per frame, L latents,
D their width, C width of a frame's condition.

Source: Mehraban et al. 2025, FastHMR, arXiv:2510.10868; no code is published. What is ours says so.
"""
