"""What the tests of the benchmark share."""

import torch

CPU = torch.device("cpu")
