"""The model against recorded outputs of the published one, and its names and shapes at full size."""

from typing import Any, ClassVar

import pytest
import torch

from shared_tmu.models.hand import HandModel

from .hands import CASES, HandFolder, check, mano_standin, run

KEYS = {
    "pred_cam", "pred_cam_t", "focal_length", "pred_keypoints_3d", "pred_vertices", "pred_keypoints_2d",
    "global_orient", "hand_pose", "betas", "features",
}  # fmt: skip
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


class GoldenSuite:
    """Baseline and merged outputs in both precisions."""

    hands: ClassVar[HandFolder]

    @pytest.mark.parametrize("case", CASES)
    @DTYPES
    def test_baseline(self, case: str, dtype: torch.dtype) -> None:
        model = self.hands.case_model(case, dtype)
        for index in range(len(self.hands.description(case)["batches"])):
            img = self.hands.tensors(f"{case}.inputs{index}")["img"]
            check(run(model, img.to(dtype)), self.hands.tensors(f"{case}.baseline{index}"), KEYS)

    @pytest.mark.parametrize("case", CASES)
    @DTYPES
    def test_merged(self, case: str, dtype: torch.dtype) -> None:
        model = self.hands.case_model(case, dtype)
        entries = self.hands.description(case)["schedules"]
        assert len(entries) >= 4
        for entry in entries:
            self.check_schedule(model, case, entry, dtype)

    def check_schedule(self, model: HandModel, case: str, entry: dict[str, Any], dtype: torch.dtype) -> None:
        """One recorded schedule: values, source map, and the baseline again afterwards."""
        img = self.hands.tensors(f"{case}.inputs{entry['batch']}")["img"].to(dtype)
        wanted = self.hands.tensors(f"{case}.tmu.{entry['name']}")
        r = wanted["r_schedule"].tolist() if entry["form"] != "int" else entry["r"]
        before = run(model, img)
        with self.hands.tmu.patch(model, r, proportional=entry["prop_attn"], record=True) as handle:
            found = run(model, img)
            check(found, wanted, KEYS)
            if handle.plan is not None:  # nothing merged, nothing recorded
                assert torch.equal(handle.plan.source_map, wanted["source_index"])
        after = run(model, img)
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_results_do_not_depend_on_the_batch(self) -> None:
        model = self.hands.case_model("small_grid", torch.float64)
        img = self.hands.tensors("small_grid.inputs0")["img"].double()
        together = run(model, img)
        for index in range(len(img)):
            alone = run(model, img[index : index + 1])
            assert all(torch.allclose(alone[key][0], together[key][index]) for key in alone)


def described(model: HandModel) -> dict[str, tuple[tuple[int, ...], str]]:
    state = model.state_dict()
    return {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()
    }


class StateDictSuite:
    """Names and shapes of the published checkpoint, at full size, without allocating it."""

    hands: ClassVar[HandFolder]

    def test_every_key_shape_and_type_of_the_published_model(self) -> None:
        with torch.device("meta"):
            model = self.hands.build(self.hands.config(with_discriminator=True), mano_standin())
        wanted = self.hands.published_table()
        assert len(wanted) == self.hands.keys
        assert described(model) == wanted
        assert all(value.is_meta for value in model.state_dict().values())

    def test_the_discriminator_is_optional(self) -> None:
        with torch.device("meta"):
            model = self.hands.build(self.hands.config.official(), mano_standin())
        wanted = {
            key: value
            for key, value in self.hands.published_table().items()
            if not key.startswith("discriminator.")
        }
        assert described(model) == wanted

    def test_buffers_that_are_indices(self) -> None:
        state = self.hands.build(self.hands.case_config("small_grid"), mano_standin()).state_dict()
        assert state["mano.extra_joints_idxs"].tolist() == [744, 320, 443, 554, 671]
        order = "0 13 14 15 16 1 2 3 17 4 5 6 18 10 11 12 19 7 8 9 20"
        assert state["mano.joint_map"].tolist() == [int(joint) for joint in order.split()]
        assert state["mano.parents"].tolist() == [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]
