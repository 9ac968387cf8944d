"""`tmu.patch` on our HaMeR, whose head reads any number of tokens, and on the published class."""

import torch
from folder import FOLDER
from published import HaMeRViT, PublishedHaMeR
from suites.published import DIM, PublishedSuite
from suites.tmu import PatchSuite, flat
from torch import Tensor, nn

from hamer_tmu import tmu


class TestPatch(PatchSuite):
    folder = FOLDER


class TestPublished(PublishedSuite):
    folder = FOLDER

    def published(self) -> PublishedHaMeR:
        return PublishedHaMeR()


def test_the_head_reads_what_merging_leaves() -> None:
    model, lengths = FOLDER.tiny(depth=4), []
    batch = {"img": torch.randn(2, 3, 256, 256)}
    hook = model.mano_head.register_forward_hook(lambda module, args, out: lengths.append(args[0].shape[1]))
    for unmerge in (True, False):
        with tmu.patch(model, "20x4", unmerge=unmerge):
            assert all(t.isfinite().all() for t in flat(model, batch))
    hook.remove()
    assert lengths == [192, 112]


class Classed(HaMeRViT):
    """A ViT with a class token, and no attribute that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, DIM))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, self.cls_token)[1]


def test_a_class_token_is_found_and_never_merges() -> None:
    model = PublishedHaMeR()
    model.backbone = Classed()
    with tmu.patch(model.eval(), "20x4", record=True) as handle, torch.no_grad():
        assert handle.num_prefix_tokens == 1
        model({"img": torch.randn(2, 3, 256, 256)})
        assert torch.equal(handle.plan.source_map[:, 0], torch.zeros(2, dtype=torch.int64))
