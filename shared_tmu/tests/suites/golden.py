"""The model against recorded outputs of the published one, and its names and shapes at full size."""

from typing import Any, ClassVar

import pytest
import torch

from .folders import CASES, ModelFolder, check

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


class GoldenSuite:
    """Baseline and merged outputs in both precisions."""

    folder: ClassVar[ModelFolder]

    @pytest.mark.parametrize("case", CASES)
    @DTYPES
    def test_baseline(self, case: str, dtype: torch.dtype) -> None:
        model = self.folder.case_model(case, dtype)
        for index in range(len(self.folder.description(case)["batches"])):
            img = self.folder.tensors(f"{case}.inputs{index}")["img"]
            wanted = self.folder.tensors(f"{case}.baseline{index}")
            check(self.folder.run(model, img.to(dtype)), wanted, self.folder.RECORDED)

    @pytest.mark.parametrize("case", CASES)
    @DTYPES
    def test_merged(self, case: str, dtype: torch.dtype) -> None:
        model = self.folder.case_model(case, dtype)
        entries = self.folder.description(case)["schedules"]
        assert len(entries) >= 4
        for entry in entries:
            self.check_schedule(model, case, entry, dtype)

    def check_schedule(self, model: Any, case: str, entry: dict[str, Any], dtype: torch.dtype) -> None:
        """One recorded schedule: values, source map, and the baseline again afterwards."""
        img = self.folder.tensors(f"{case}.inputs{entry['batch']}")["img"].to(dtype)
        wanted = self.folder.tensors(f"{case}.tmu.{entry['name']}")
        r = wanted["r_schedule"].tolist() if entry["form"] != "int" else entry["r"]
        before = self.folder.run(model, img)
        with self.folder.tmu.patch(model, r, proportional=entry["prop_attn"], record=True) as handle:
            found = self.folder.run(model, img)
            check(found, wanted, self.folder.RECORDED)
            if handle.plan is not None:  # nothing merged, nothing recorded
                assert torch.equal(handle.plan.source_map, wanted["source_index"])
        after = self.folder.run(model, img)
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_results_do_not_depend_on_the_batch(self) -> None:
        """Batches of three are where published SMPLest-X turns rotations."""
        model = self.folder.case_model("small_grid", torch.float64)
        img = self.folder.tensors("small_grid.inputs0")["img"][:3].double()
        assert len(img) == 3
        together = self.folder.run(model, img)
        for index in range(3):
            alone = self.folder.run(model, img[index : index + 1])
            assert all(torch.allclose(alone[key][0], together[key][index]) for key in alone)

    def test_protecting_the_last_tokens_is_the_published_merging(self) -> None:
        """Decision by decision, where there are task tokens to tell the difference."""
        names = sorted(path.stem for path in self.folder.golden.glob("*.defect.*.safetensors"))
        assert len(names) >= (2 if self.folder.prefix else 0)
        for name in names:
            case = name.partition(".")[0]
            model, wanted = self.folder.case_model(case), self.folder.tensors(name)
            img, r = self.folder.tensors(f"{case}.inputs0")["img"], wanted["r_schedule"].tolist()
            with self.folder.tmu.patch(model, r, protect="last", record=True) as handle:
                found = self.folder.run(model, img)
                plan = handle.plan
            check(found, wanted, self.folder.RECORDED & set(wanted))
            assert torch.equal(plan.source_map, wanted["source_index"])
            groups = plan.sizes().gather(1, plan.source_map)[:, : self.folder.prefix]
            assert torch.equal(groups, wanted["task_token_group_size"].to(groups.dtype))
            assert (groups > 1).any()  # task tokens share slots


def described(model: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    state = model.state_dict()
    return {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()
    }


class StateDictSuite:
    """Names and shapes of the published checkpoint, at full size, without allocating it."""

    folder: ClassVar[ModelFolder]

    def test_every_key_shape_and_type_of_the_published_model(self) -> None:
        with torch.device("meta"):
            model = self.folder.build(self.folder.config.official(), self.folder.standin())
        wanted = self.folder.published_table()
        assert len(wanted) == self.folder.keys
        own_body = any(key.startswith(self.folder.BODY) for key in wanted)
        found = described(model)
        if not own_body:  # its layer's buffers, which the checkpoint leaves out, are checked with the layer
            found = {key: value for key, value in found.items() if not key.startswith(self.folder.BODY)}
        assert found == {k: v for k, v in wanted.items() if not k.startswith("discriminator.")}
        assert all(value.is_meta for value in model.state_dict().values())
