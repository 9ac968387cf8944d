"""The attention map that methods read, against the attention that runs without one."""

import pytest
import torch

from shared_tmu.blocks.attention import attention_weights, proportional_attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("largest", [1.0, 60.0])  # 80 * 60 * 60 exceeds float16, not if scaled
def test_the_map_gives_what_attention_gives(dtype, largest):
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 12, 80, generator=rng) for _ in range(3))
    q, k = (q.sign() * largest, k.sign() * largest) if largest > 1 else (q, k)
    k[:, :, 0] = q[:, :, 0]
    size = torch.randint(1, 5, (2, 12), generator=rng).float()
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    weights = attention_weights(q, k, size.to(dtype))
    assert torch.isfinite(weights).all()
    wanted = proportional_attention(q.double(), k.double(), v.double(), size.double())
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.03, torch.float16: 0.01}[dtype]
    torch.testing.assert_close((weights @ v).double(), wanted, atol=tolerance, rtol=0.01)
