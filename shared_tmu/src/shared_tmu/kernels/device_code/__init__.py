"""The kernels, in Triton's language; `shared_tmu.kernels.launch` launches them."""
