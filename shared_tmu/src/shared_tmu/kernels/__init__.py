"""Fast paths for GPUs, each beside a slow one in torch that says what it computes.

* `device_code`: the kernels, in Triton; `launch` calls them, `ops` makes operators of them;
* `merging`: planning and merging with the signatures of `shared_tmu.matching` and `shared_tmu.ops`;
* `size_channel`: proportional attention that flash kernels can run, `size_mask` by a mask;
* `attention_choice`: which of the two runs, by measurement;
* `choice`: which path runs where somebody chooses.

Importing this loads neither Triton nor anything on the GPU.
"""

from .choice import Choice, current, using

__all__ = ["Choice", "current", "using"]
