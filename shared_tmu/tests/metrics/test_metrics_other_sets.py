"""HO3D, HInt and EHF: the golden values of their official scripts."""

import json
from pathlib import Path

import numpy as np
import pytest

from shared_tmu.metrics import (
    BodyParts,
    align_root,
    align_similarity,
    crop_to_picture,
    keypoint_pck,
    mean_error_mm,
    point_distances,
    score_ehf,
    score_ho3d,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"


def golden(name):
    return dict(np.load(GOLDEN / f"{name}.npz")), json.loads((GOLDEN / f"{name}.json").read_text())


def test_ho3d_every_golden_number():
    arrays, stored = golden("ho3d")
    got, want = score_ho3d(**arrays).as_dict(), stored["expected"]
    assert set(got) == set(want)
    for family, values in want.items():
        for name, value in values.items():
            tolerance = 1e-8 if "_mm" in name else 1e-9
            np.testing.assert_allclose(
                got[family][name], value, rtol=0, atol=tolerance, err_msg=f"{family} {name}"
            )


def test_ho3d_joints_that_coincide_are_not_divided_by_zero():
    arrays, _ = golden("ho3d")
    arrays["pred_xyz"][2] = 0.0
    assert np.isfinite(score_ho3d(**arrays).families["xyz_scale_translation_aligned"].mean_error_mm)


@pytest.mark.parametrize("subset", ["all", "vis", "occ", "joint_7_unlabelled"])
def test_hint_pck(subset):
    arrays, stored = golden("hint")
    truth = arrays[f"hand_keypoints_2d_{'all' if subset.startswith('joint') else subset}"]
    flags = truth[..., 2].astype(bool)
    if subset.startswith("joint"):
        flags[:, 7] = False
    unit = arrays["scale"].max(axis=1)
    pixels = crop_to_picture(
        arrays["pred_keypoints_2d"], arrays["center"], unit * arrays["bbox_expand_factor"], arrays["right"]
    )
    got = keypoint_pck(pixels, truth[..., :2], flags, unit, (0.05, 0.10, 0.15))
    for threshold, want in stored["expected"][subset]["pck"].items():
        shares = got[float(threshold)]
        if want["average"] is None:
            assert np.isnan(shares.average)
            assert np.flatnonzero(np.isnan(shares.per_joint)).tolist() == [7]
            for joint, share in want["per_joint"].items():
                assert shares.per_joint[int(joint)] == pytest.approx(share, abs=1e-9)
        else:
            assert shares.average == pytest.approx(want["average"], abs=1e-9)
            np.testing.assert_allclose(shares.per_joint, want["per_joint"], atol=1e-9)


def test_hint_root_aligned_3d():
    arrays, stored = golden("hint")
    predicted, true = arrays["pred_keypoints_3d"], arrays["gt_keypoints_3d"]
    want = stored["expected"]["root_aligned_3d"]
    by_root = point_distances(align_root(predicted, true), true)
    by_similarity = point_distances(align_similarity(predicted, true, reflection=False), true)
    assert mean_error_mm(by_root) == pytest.approx(want["mpjpe_mm"], abs=1e-5)
    assert mean_error_mm(by_similarity) == pytest.approx(want["pa_mpjpe_mm"], abs=1e-5)


def test_ehf_every_golden_number():
    arrays, stored = golden("ehf")
    parts = BodyParts(**{name: arrays[name] for name in BodyParts.__dataclass_fields__})
    truth = arrays["gt_verts_as_stored"] @ arrays["gt_to_camera_rotation"].T
    got = score_ehf(arrays["pred_verts_camera"], truth, parts)
    assert set(got) == set(stored["expected"])
    for name, want in stored["expected"].items():
        np.testing.assert_allclose(got[name], want["per_sample_mm"], atol=1e-8, err_msg=name)
        assert got[name].mean() == pytest.approx(want["mean_mm"], abs=1e-8)
