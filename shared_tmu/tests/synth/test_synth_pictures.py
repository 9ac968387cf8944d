"""Pictures of SynthHand: the same seed gives the same picture, and labels say what the picture shows."""

import json

import cv2
import numpy as np
import pytest

from shared_tmu.synth import Difficulty, evalset, sample_scene, write_eval_set
from shared_tmu.synth.generator import draw, frame_hand, place_hand
from shared_tmu.synth.shards import CANONICAL_SCALE_M, SHARD, cell_labels, make_record, shard_folder


@pytest.mark.parametrize("index", [0, 1, 2])
def test_equal_scenes_give_equal_pictures(index):
    first, second = draw(sample_scene(5, index)), draw(sample_scene(5, index))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.part, second.part)
    other = draw(sample_scene(6, index))
    assert (first.image != other.image).mean() > 0.5


@pytest.mark.parametrize("index", range(6))
def test_labels_agree_with_the_camera(index):
    picture = draw(sample_scene(8, index, Difficulty(clutter=0.0, degrade=0.0)))
    rows, columns = np.nonzero(picture.part)
    assert len(rows) > 800
    points = picture.camera.project(picture.hand.vertices)
    assert rows.min() >= points[:, 1].min() - 1
    assert rows.max() <= points[:, 1].max() + 1
    assert columns.min() >= points[:, 0].min() - 1
    assert columns.max() <= points[:, 0].max() + 1
    depth = picture.depth[rows, columns] + picture.hand.keypoints[0, 2]
    assert depth.min() >= picture.hand.vertices[:, 2].min() - 1e-4
    assert depth.max() <= picture.hand.vertices[:, 2].max() + 1e-4
    assert np.abs(picture.canonical).max() < CANONICAL_SCALE_M
    assert (picture.canonical[picture.part == 0] == 0).all()


def test_hand_fills_the_box_that_the_scene_asks_for():
    for index in range(5):
        scene = sample_scene(9, index)
        hand = place_hand(scene)
        points = frame_hand(scene, hand, 256, 256, 1.0).project(hand.keypoints)
        extent = np.ptp(points, axis=0)
        assert max(extent[1], extent[0] * 4 / 3) == pytest.approx(scene.hand_size_px, rel=1e-4)
        middle = (points.max(0) + points.min(0)) / 2 - 128
        np.testing.assert_allclose(middle, scene.centre_shift_px, atol=1e-2)


def test_easy_scenes_turn_less():
    from scipy.spatial.transform import Rotation

    from shared_tmu.synth.scene import UPRIGHT_BACK

    base = Rotation.from_matrix(UPRIGHT_BACK)
    for limit in (40.0, 90.0):
        scenes = [sample_scene(1, i, Difficulty(max_turn_deg=limit)) for i in range(40)]
        away = [(Rotation.from_rotvec(s.root) * base.inv()).magnitude() for s in scenes]
        assert np.degrees(max(away)) <= limit + 1e-3


def test_cell_labels_sit_in_the_middle_of_each_patch_cell():
    picture = draw(sample_scene(3, 0))
    labels = cell_labels(picture)
    assert labels["part"].shape == (64, 48)
    # patch (r, c) covers rows 16r-2..16r+13 of the 256x192 input: its cell i is centred on row 16r+4i
    assert labels["part"][4 * 5 + 2, 4 * 3 + 1] == picture.part[16 * 5 + 8, 32 + 16 * 3 + 4]
    restored = labels["canonical"].astype(float) * CANONICAL_SCALE_M / 127
    np.testing.assert_allclose(restored, picture.canonical[::4, 32:224:4], atol=CANONICAL_SCALE_M / 127)


def test_records_decode_to_the_drawn_crop():
    data, labels = make_record(4, 2, Difficulty())
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    drawn = draw(sample_scene(4, 2)).image[:, 32:224, ::-1]
    assert image.shape == (256, 192, 3)
    assert np.abs(image.astype(int) - drawn).mean() < 4
    assert np.abs(labels["keypoints_2d"]).max() < 0.6


def test_shards_of_different_difficulty_do_not_share_a_folder(tmp_path):
    assert shard_folder(tmp_path, 1, Difficulty()) != shard_folder(tmp_path, 1, Difficulty(clutter=0.5))
    assert shard_folder(tmp_path, 1, Difficulty(90)) == shard_folder(tmp_path, 1, Difficulty(90.0))
    assert SHARD == 500


def test_eval_set_has_freihands_layout_and_resumes(tmp_path):
    write_eval_set(tmp_path, count=4, seed=12)
    names = ("K", "xyz", "verts", "mano", "scale")
    read = {name: np.array(json.loads((tmp_path / f"evaluation_{name}.json").read_text())) for name in names}
    shapes = {name: value.shape for name, value in read.items()}
    want = {"K": (4, 3, 3), "xyz": (4, 21, 3), "verts": (4, 778, 3), "mano": (4, 1, 61), "scale": (4,)}
    assert shapes == want
    bone = np.linalg.norm(read["xyz"][:, 9] - read["xyz"][:, 10], axis=1)
    np.testing.assert_allclose(read["scale"], bone, atol=1e-6)
    uv = np.einsum("nij,nkj->nki", read["K"], read["xyz"])
    uv = uv[..., :2] / uv[..., 2:]
    assert (np.ptp(uv, axis=1).max(1) < 224).all()
    np.testing.assert_allclose(read["mano"][:, 0, 58:60], uv[:, 9], atol=1e-2)
    pictures = sorted((tmp_path / "evaluation" / "rgb").iterdir())
    assert [p.name for p in pictures] == [f"{i:08d}.jpg" for i in range(4)]
    before = [p.read_bytes() for p in pictures]
    (tmp_path / "synthhand_eval.json").unlink()
    pictures[2].unlink()
    write_eval_set(tmp_path, count=4, seed=12)
    assert [p.read_bytes() for p in pictures] == before
    write_eval_set(tmp_path, count=4, seed=13)
    assert [p.read_bytes() for p in pictures] != before


def test_an_eval_set_interrupted_while_replacing_another_is_not_taken_for_it(tmp_path, monkeypatch):
    def power_cut(scene):
        raise RuntimeError("power cut")

    picture = tmp_path / "evaluation" / "rgb" / "00000000.jpg"
    write_eval_set(tmp_path, count=1, seed=12)
    before = picture.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(evalset, "_truth", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            write_eval_set(tmp_path, count=1, seed=13)
    assert picture.read_bytes() != before
    write_eval_set(tmp_path, count=1, seed=12)
    assert picture.read_bytes() == before


def test_two_processes_may_make_the_same_eval_set(tmp_path, monkeypatch):
    """The other one cleans up as it starts: half-written files stay, and what it removed is drawn again."""
    folder, write = tmp_path / "evaluation" / "rgb", evalset._write_picture
    folder.mkdir(parents=True)
    half_written = folder / ".00000001.77.part.jpg"
    half_written.touch()

    def write_and_lose(path, scene):
        write(path, scene)
        if path.name == "00000001.jpg" and not (folder / "00000002.jpg").exists():
            (folder / "00000000.jpg").unlink()

    monkeypatch.setattr(evalset, "_write_picture", write_and_lose)
    write_eval_set(tmp_path, count=3, seed=12)
    assert half_written.exists()
    assert sorted(p.name for p in folder.glob("0*")) == [f"{i:08d}.jpg" for i in range(3)]
