"""Fast implementations for GPUs, each with a slower reference in torch.

* `device_code`: the kernels, in Triton; `launch` launches them, `ops` registers them as operators, and
  `shared_tmu.plans.fused` calls those that plan and merge;
* `size_channel`: proportional attention in a form that flash kernels can run; `size_mask`: with a mask;
* `attention_choice`: which of the two runs, by measurement;
* `choice`: lets a user choose the implementation.

Importing this package does not load Triton and does not use the GPU.
"""

from .choice import Choice, current, using

__all__ = ["Choice", "current", "using"]
