"""Where task tokens look: each learns the patch of its joint, and patches that are left out do not count."""

import torch

from shared_tmu.body_models.smplx_model import KEYPOINTS, PARENTS
from shared_tmu.models.decoder import CrossAttention, DecoderConfig, DecoderLayers
from shared_tmu.training.attention_loss import _targets, look_loss, recorded
from shared_tmu.training.dense import DenseHeads

JOINTS = 65


def test_tokens_look_at_their_joint_and_at_one_that_it_moves():
    own, moved = _targets(JOINTS)
    assert len(own) == len({token for token, _ in own}) == 44
    assert all(KEYPOINTS[point] == (token if token < 22 else token - 10) for token, point in own)
    for token, point in moved:
        joint = token if token < 22 else token - 10
        end = KEYPOINTS[point]
        assert end >= 55 or PARENTS[end] == joint
    assert {token for token, _ in moved} >= {0, 1, 2, 4, 5, 16, 17, 18, 19, 20, 21, *range(35, 65)}


def decoder(dim: int = 16) -> DecoderLayers:
    torch.manual_seed(0)
    sizes = {"depth": 2, "heads": 2, "dim_head": 8, "mlp_dim": 16}
    return DecoderLayers(DecoderConfig(**sizes, dim=dim, context_dim=dim))


def test_queries_and_keys_are_those_of_the_attention():
    layers, x, context = decoder(), torch.randn(2, 80, 16), torch.randn(2, 192, 16)
    with recorded(layers) as seen:
        layers(x, context)
    assert [type(module) for module, _ in seen] == [CrossAttention] * 2
    assert all(left["q"].shape == (2, 80, 16) and left["kv"].shape == (2, 192, 32) for _, left in seen)
    assert not any(module._forward_hooks for module in layers.modules())


def test_tokens_learn_where_to_look_in_the_patches_that_are_kept():
    layers, heads = decoder(), DenseHeads(16, keypoints=JOINTS)
    x, patches = torch.randn(1, 80, 16), torch.randn(1, 192, 16)
    points = heads.centre[torch.randint(192, (1, JOINTS))]
    kept = heads.patch_of(points)[0].unique()[None]  # all that matter
    optimizer = torch.optim.Adam(layers.parameters(), 0.02)
    values = []
    for _ in range(40):
        with recorded(layers) as seen:
            layers(x, patches[:, kept[0]])
        value = look_loss(seen, heads, points, kept)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    assert look_loss(seen, heads, points + 3.0, kept) == 0
