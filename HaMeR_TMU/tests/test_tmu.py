"""`tmu.patch` on our HaMeR, whose head reads any number of tokens."""

import torch
from folder import FOLDER
from suites.tmu import PatchSuite, flat

import tmu


class TestPatch(PatchSuite):
    hands = FOLDER


def test_the_head_reads_what_merging_leaves() -> None:
    model, lengths = FOLDER.tiny(depth=4), []
    batch = {"img": torch.randn(2, 3, 256, 256)}
    hook = model.mano_head.register_forward_hook(lambda module, args, out: lengths.append(args[0].shape[1]))
    for unmerge in (True, False):
        with tmu.patch(model, "20x4", unmerge=unmerge):
            assert all(t.isfinite().all() for t in flat(model, batch))
    hook.remove()
    assert lengths == [192, 112]
