"""`tmu.patch` on our SMPLest-X, and on a class that is built as the published one."""

import pytest
from folder import FOLDER
from published import PublishedSMPLestX
from suites.published import PublishedSuite
from suites.tmu import PatchSuite, flat
from torch import Tensor

from smplest_x_tmu import tmu


class TestPatch(PatchSuite):
    folder = FOLDER


class TestPublished(PublishedSuite):
    folder = FOLDER
    says_task_tokens = "task_tokens"

    def published(self) -> PublishedSMPLestX:
        return PublishedSMPLestX()


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return {"img": FOLDER.images(2)}


def test_the_decoder_reads_what_merging_leaves(batch):
    model, lengths = FOLDER.tiny(depth=4), []
    hook = model.decoder.register_forward_hook(lambda module, args, out: lengths.append(args[0].shape[1]))
    for unmerge in (True, False):
        with tmu.patch(model, "20x4", unmerge=unmerge):
            assert all(t.isfinite().all() for t in flat(model, batch))
    hook.remove()
    assert lengths == [272, 192]
