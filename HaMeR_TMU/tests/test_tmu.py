"""`tmu.patch` on our HaMeR, whose head reads any number of tokens, and on the published class."""

import torch
from folder import FOLDER
from published import PublishedHaMeR
from suites.published import PublishedSuite
from suites.tmu import PatchSuite, flat

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
