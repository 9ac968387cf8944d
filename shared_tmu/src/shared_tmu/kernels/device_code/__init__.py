"""The kernels, in Triton's language. They are launched by `shared_tmu.kernels.launch`."""
