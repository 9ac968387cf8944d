"""The demo from command line to files, on a toy model and boxes from a file."""

import json
import re

import cv2
import numpy as np
from toy_demo import BOXES, SIZES, results, run, write_boxes

from shared_tmu.demo.tokens import PATCH_PX
from shared_tmu.pictures.panels import CAPTION_PX


def test_files_and_table(program, images, boxes, out, capsys):
    assert run(program, images, out, "--side_view", "--save_mesh", "--tokens", boxes=boxes) == 0
    expected = [f"{key}.{suffix}" for key in "abcd" for suffix in ("json", "npz")]
    expected += [f"{key}_all.jpg" for key in "abd"]
    hands = [("a", 0), ("a", 1), ("b", 0), *(("d", i) for i in range(4))]
    expected += [f"{key}_{i}{end}" for key, i in hands for end in (".png", ".obj", ".glb", "_tokens.png")]
    assert results(out) == sorted(expected)
    text = capsys.readouterr().out
    for line in (r"images +4\n", r"hands +7 \(none found in 1 images\)", r"hands/s, model alone +[\d.]+",
                 r"tokens kept +52 of 64 \(81 %\)", r"finding hands +[\d.]+ s"):  # fmt: skip
        assert re.search(line, text), line
    assert text.strip().splitlines()[-1] == f"Overlays and meshes of 3 of 4 images are in {out.resolve()}"
    for name, (width, height) in SIZES.items():
        if name != "c.jpg":
            assert cv2.imread(str(out / f"{name[0]}_all.jpg")).shape == (height, width, 3)
    assert cv2.imread(str(out / "a_0.png")).shape == (384, 3 * 384, 3)
    record = json.loads((out / "d.json").read_text())
    assert [hand["is_right"] for hand in record["hands"]] == [True, False, True, False]
    assert (record["image"], record["schedule"], record["detector"]) == ("d.jpg", "4x3", "boxes")
    assert len(json.loads((out / "c.json").read_text())["hands"]) == 0


def test_token_pictures_show_whom_pruned_patches_copy(program, images, boxes, out):
    """Each of the 12 is dark, in a colour that outlines one of the patches that are left."""
    arguments = ("--file_type", "b.png", "--tokens", "--method", "evit")
    assert run(program, images, out, *arguments, boxes=boxes) == 0
    picture = cv2.imread(str(out / "b_0_tokens.png"))[CAPTION_PX:].astype(float)
    before, after = (
        panel.reshape(8, PATCH_PX, 8, PATCH_PX, 3).swapaxes(1, 2).reshape(64, PATCH_PX, PATCH_PX, 3)
        for panel in (picture[:, : 8 * PATCH_PX], picture[:, -8 * PATCH_PX :])
    )
    inside = np.s_[:, 2:-2, 2:-2]
    is_kept = (before[inside] == after[inside]).all((1, 2, 3))
    assert is_kept.sum() == 52
    outlines = ((after - 0.1 * before) / 0.9)[is_kept][:, :, 0].mean(1)
    for tint in ((after - 0.25 * before) / 0.35)[~is_kept]:
        colour = tint.mean((0, 1))
        np.testing.assert_allclose(tint, np.broadcast_to(colour, tint.shape), atol=3)
        assert colour.max() > 240 > 80 > colour.min()
        assert np.abs(outlines - colour).max(1).min() < 3


def test_overlays_show_the_mesh_on_the_hand(program, images, boxes, out):
    run(program, images, out, boxes=boxes)
    before, after = cv2.imread(str(images / "a.jpg")), cv2.imread(str(out / "a_all.jpg"))
    changed = np.abs(before.astype(int) - after).max(axis=2) > 40
    saved = np.load(out / "a.npz")
    homogeneous = (saved["vertices_m"] + saved["translation_m"][:, None]) @ saved["camera_matrix"].T
    pixels = homogeneous[..., :2] / homogeneous[..., 2:]
    for hand in pixels:
        x1, y1, x2, y2 = [*hand.min(axis=0).astype(int), *hand.max(axis=0).astype(int)]
        assert changed[max(y1, 0) : y2, max(x1, 0) : x2].mean() > 0.3
    rows, columns = np.nonzero(changed)
    assert rows.min() > pixels[..., 1].min() - 10
    assert columns.max() < pixels[..., 0].max() + 10


def test_what_is_not_asked_for_is_not_saved(program, images, boxes, out):
    assert run(program, images, out, "--no-full_frame", "--no-save_params", boxes=boxes) == 0
    assert results(out) == ["a_0.png", "a_1.png", "b_0.png", *(f"d_{i}.png" for i in range(4))]


def test_a_mirrored_photograph_gives_mirrored_results(program, images, boxes, out, tmp_path):
    mirrored = tmp_path / "mirrored"
    mirrored.mkdir()
    flipped = {}
    for name, entries in BOXES.items():
        width = SIZES[name][0]
        picture = cv2.imread(str(images / name))
        cv2.imwrite(str(mirrored / f"{name[0]}.png"), picture[:, ::-1])
        cv2.imwrite(str(images / f"{name[0]}.png"), picture)
        flipped[f"{name[0]}.png"] = [
            {"box_xyxy": [width - 1 - x2, y1, width - 1 - x1, y2], "is_right": not entry["is_right"]}
            for entry in entries
            for x1, y1, x2, y2 in [entry["box_xyxy"]]
        ]  # fmt: skip
    straight = {f"{name[0]}.png": entries for name, entries in BOXES.items()}
    flags = ("--file_type", "*.png", "--side_view")
    assert run(program, images, out, *flags, boxes=write_boxes(boxes, straight)) == 0
    other = tmp_path / "other"
    assert run(program, mirrored, other, *flags, boxes=write_boxes(tmp_path / "flipped.json", flipped)) == 0
    assert results(out) == results(other)
    for key in "abd":
        a, b = np.load(out / f"{key}.npz"), np.load(other / f"{key}.npz")
        assert np.array_equal(a["is_right"], ~b["is_right"])
        assert np.array_equal(a["vertices_m"], b["vertices_m"] * np.float32([-1, 1, 1]))
        assert np.array_equal(a["betas"], b["betas"])
        assert np.array_equal(a["hand_pose_axis_angle"], b["hand_pose_axis_angle"] * np.float32([1, -1, -1]))
        width = int(a["image_size_px"][0])
        assert np.allclose(a["joints_2d_px"][..., 0], width - 1 - b["joints_2d_px"][..., 0], atol=0.02)
        assert np.allclose(a["joints_2d_px"][..., 1], b["joints_2d_px"][..., 1], atol=0.02)
    for name in ("a_0.png", "d_3.png"):
        shown, turned = cv2.imread(str(out / name)), cv2.imread(str(other / name))
        one, two = (
            shown[:, 384:768].astype(int).sum(axis=2),
            turned[:, 384:768][:, ::-1].astype(int).sum(axis=2),
        )
        assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.9
