"""The decoder reads features of a model with merged layers and merged tokens: X1 of its reference."""

import torch
from toy_motion import ToyMotion, errors, ridge, trained_denoiser, trained_vae
from toy_vit import ToyViT

from shared_tmu import patch
from shared_tmu.layers import BlocksOf, merge_layers

SUBJECT, BACKGROUND, WIDTH = 8, 16, 32


class MergedFeatures:
    """Toy motion, seen as tokens by a ViT with merged layers whose background tokens merge: the mean of the
    subject's tokens of each frame."""

    def __init__(self):
        self.toy, generator = ToyMotion(), torch.Generator().manual_seed(2)
        self.views = torch.randn(10, SUBJECT, WIDTH, generator=generator) / 3
        torch.manual_seed(0)
        blocks = BlocksOf(ToyViT(width=WIDTH, depth=5).eval(), "blocks")
        self.vit = merge_layers(blocks, [(0, 0), (1, 2), (3, 3), (4, 4)])
        self.mask = torch.arange(SUBJECT + BACKGROUND) < SUBJECT

    @torch.no_grad()
    def draw(self, count, seed):
        motion, seen = self.toy.draw(count, seed)
        generator = torch.Generator().manual_seed(seed + 1)
        subject = torch.einsum("btf,fnw->btnw", seen, self.views).flatten(0, 1)
        background = torch.randn(len(subject), BACKGROUND, WIDTH, generator=generator)
        with patch(self.vit, "6x1+4x1", record=True) as handle, handle.masked(self.mask):
            out = self.vit(torch.cat((subject, background), 1))
            assert handle.plan.num_slots == SUBJECT + BACKGROUND - 10
        return motion, out[:, self.mask].mean(1).unflatten(0, motion.shape[:2])


def test_x1_it_beats_a_linear_head_on_the_same_merged_features():
    merged = MergedFeatures()
    motion, features = merged.draw(200, 7)

    def draw(count, seed):
        rows = torch.randint(len(motion), (count,), generator=torch.Generator().manual_seed(seed))
        return motion[rows], features[rows]

    decoder = trained_denoiser(trained_vae(draw, WIDTH), draw, steps=200)
    truth, seen = merged.draw(50, 8)
    ours = decoder.sample(seen, torch.Generator().manual_seed(0))
    (error, accel), (head_error, head_accel) = (
        errors(found, truth) for found in (ours, ridge(features, motion)(seen))
    )
    assert error < head_error
    assert accel < 0.5 * head_accel
