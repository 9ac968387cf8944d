"""Fast paths for GPUs, each with a slow reference in torch.

* `device_code`: the kernels, in Triton; `launch` launches them, `ops` registers them as operators, and
  `shared_tmu.plans.fused` calls those that plan and merge;
* `size_channel`: proportional attention that flash kernels can run, `size_mask` by a mask;
* `attention_choice`: which of the two runs, by measurement;
* `choice`: lets a user choose the path.

Importing this loads neither Triton nor anything on the GPU.
"""

from .choice import Choice, current, using

__all__ = ["Choice", "current", "using"]
