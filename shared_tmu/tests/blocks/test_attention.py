"""Proportional attention against the softmax written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from shared_tmu.blocks.attention import proportional_attention
from shared_tmu.plans.reference import attend_explicitly


@pytest.mark.parametrize("scale", [None, 0.05, 1.0])
@pytest.mark.parametrize("sized", [False, True])
@pytest.mark.parametrize(("batch", "heads", "tokens", "width"), [(1, 1, 1, 4), (2, 3, 17, 8), (2, 4, 92, 80)])
def test_equals_the_explicit_softmax(batch, heads, tokens, width, sized, scale, dtype, tolerance, device):
    q, k, v = torch.randn(3, batch, heads, tokens, width, dtype=dtype, device=device).unbind(0)
    size = torch.randint(1, 30, (batch, tokens), device=device).float() if sized else None
    got = proportional_attention(q, k, v, size, scale)
    want = attend_explicitly(q.double(), k.double(), v.double(), size, scale)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), want, atol=3 * tolerance, rtol=3 * tolerance)


def test_a_key_of_size_three_counts_three_times():
    q, k, v = torch.randn(3, 1, 2, 4, 8, dtype=torch.float64).unbind(0)
    size = torch.tensor([[1.0, 3.0, 1.0, 1.0]])
    repeated = [torch.cat([t, t[:, :, 1:2], t[:, :, 1:2]], dim=2) for t in (k, v)]
    torch.testing.assert_close(
        proportional_attention(q, k, v, size), F.scaled_dot_product_attention(q, *repeated)
    )


def test_no_mask_without_sizes(monkeypatch):
    masks = []
    fused = F.scaled_dot_product_attention

    def spy(*args, attn_mask=None, **options):
        masks.append(attn_mask)
        return fused(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q = torch.randn(2, 2, 5, 4)
    proportional_attention(q, q, q)
    proportional_attention(q, q, q, torch.full((2, 5), 2.0))
    assert masks[0] is None
    assert masks[1].shape == (2, 1, 1, 5)


def test_gradients_reach_queries_keys_and_values():
    q, k, v = (torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    size = torch.tensor([[1.0, 2.0, 1.0, 4.0, 1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q, k, v: proportional_attention(q, k, v, size), (q, k, v))
