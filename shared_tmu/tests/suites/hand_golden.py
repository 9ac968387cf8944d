"""What only the published hand models' state dictionaries hold."""

from typing import ClassVar

import torch

from .golden import StateDictSuite, described
from .hands import HandFolder, mano_standin


class HandStateDictSuite(StateDictSuite):
    """MANO's indices, and the discriminator of training."""

    folder: ClassVar[HandFolder]

    def test_with_its_discriminator_too(self) -> None:
        with torch.device("meta"):
            model = self.folder.build(self.folder.config(with_discriminator=True), mano_standin())
        assert described(model) == self.folder.published_table()

    def test_buffers_that_are_indices(self) -> None:
        state = self.folder.build(self.folder.case_config("small_grid"), mano_standin()).state_dict()
        assert state["mano.extra_joints_idxs"].tolist() == [744, 320, 443, 554, 671]
        order = "0 13 14 15 16 1 2 3 17 4 5 6 18 10 11 12 19 7 8 9 20"
        assert state["mano.joint_map"].tolist() == [int(joint) for joint in order.split()]
        assert state["mano.parents"].tolist() == [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
