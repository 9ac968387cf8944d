"""Which images there are, and reading them ahead."""

import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from toy_demo import MANO, write_pictures

import shared_tmu.demo.batching
from shared_tmu.demo.batching import Batcher, Job
from shared_tmu.demo.meshes import mesh_files
from shared_tmu.demo.predict import Prediction
from shared_tmu.demo.read_ahead import read_ahead
from shared_tmu.detect import Detection, HandBox
from shared_tmu.errors import InputError
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.pictures.hand_crops import hand_crop
from shared_tmu.pictures.listing import Source, list_images
from shared_tmu.pictures.overlays import vertex_normals
from shared_tmu.programs.hand_records import TABLE, image_arrays, make_record
from shared_tmu.programs.tables import ImageCamera, to_npz


def names(folder, *patterns):
    return [source.name for source in list_images(folder, patterns or ("*.jpg", "*.png"))]


def test_images_are_listed_once_sorted_and_whatever_the_case(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.JPEG", "notes.txt", ".hidden.jpg", "d.webp", "sub/e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    assert names(tmp_path) == ["a.jpg", "b.PNG", "c.JPEG"]
    assert names(tmp_path, "*.jpg", "a*", "*.webp") == ["a.jpg", "c.JPEG", "d.webp"]
    assert names(tmp_path, "**/*.jpg") == ["a.jpg", "c.JPEG", "sub/e.jpg"]
    assert names(tmp_path, "sub/*.jpg") == ["sub/e.jpg"]
    assert [(s.name, s.key) for s in list_images(tmp_path / "d.webp", ())] == [("d.webp", "d")]
    found = list_images(tmp_path, ["**/*.jpg"], tmp_path / "sub")
    assert [source.name for source in found] == ["a.jpg", "c.JPEG"]
    with pytest.raises(InputError, match=r"matches \*\.gif .*--file_type"):
        list_images(tmp_path, ["*.gif"])
    with pytest.raises(InputError, match="does not exist"):
        list_images(tmp_path / "missing", ["*.jpg"])


def test_folders_behind_links_are_looked_into_once_and_closed_ones_named(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one.jpg").write_bytes(b"")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "two.jpg").write_bytes(b"")
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def as_a_user(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", as_a_user)
    found = list_images(tmp_path, ["**/*.jpg"])
    assert [source.name for source in found] == [
        "a/b/one.jpg", "a/linked/two.jpg", "dangling.jpg", "loop.jpg", "closed",
    ]  # fmt: skip
    assert found[-1].problem == "cannot read the folder closed: permission denied."
    loaded = {item.source.name: item.problem for item in read_ahead(found, lambda *_: False)}
    assert "links" in loaded["loop.jpg"]
    assert "link to nowhere.jpg, which does not exist" in loaded["dangling.jpg"]
    assert loaded["closed"] == found[-1].problem
    with pytest.raises(InputError, match="permission denied"):
        list_images(tmp_path / "closed", ["*.jpg"])
    with pytest.raises(InputError, match=r"2 other files are there: 2 \.jpg"):
        list_images(tmp_path, ["*.png"])


def test_results_of_two_images_never_share_a_name(tmp_path):
    for name in ("a.jpg", "a.png", "A.jpeg", "b.jpg", "a_jpg.png", "x.y.png", "noext"):
        (tmp_path / name).write_bytes(b"")
    found = list_images(tmp_path, ["*"])
    keys = {source.name: source.key for source in found}
    assert len({key.lower() for key in keys.values()}) == len(found)
    assert (keys["b.jpg"], keys["x.y.png"], keys["a.png"], keys["noext"]) == ("b", "x.y", "a_png", "noext")


def test_names_as_long_as_file_systems_allow_leave_room_for_endings(tmp_path):
    stems = ("x" * 251, "x" * 250 + "y", "手" * 80, "x" * 200)
    for stem in stems:
        (tmp_path / f"{stem}.jpg").write_bytes(b"")
    keys = {source.path.stem: source.key for source in list_images(tmp_path, ["*.jpg"])}
    assert len(set(keys.values())) == len(stems)
    assert keys["x" * 200] == "x" * 200
    for key in keys.values():
        (tmp_path / f"{key}_12_compare.png").write_bytes(b"")
    (alone,) = list_images(tmp_path / f"{stems[0]}.jpg", [])
    assert alone.key == keys[stems[0]]


def test_images_are_read_ahead_in_order_and_never_far(tmp_path):
    sizes = {f"{i:02d}.png": (20, 10 + i) for i in range(12)}
    sources = list_images(write_pictures(tmp_path, sizes), ["*.png"])
    (tmp_path / "03.png").write_bytes(b"")
    asked = []

    def is_finished(source, digest):
        asked.append(source.name)
        return source.name == "05.png"

    reader = read_ahead(sources, is_finished, depth=2)
    first = next(reader)
    assert first.picture.size_px == (20, 10)
    loaded = [first, *reader]
    assert [item.source for item in loaded] == sources
    assert "empty" in loaded[3].problem
    assert (loaded[5].is_finished, loaded[5].picture) == (True, None)
    asked.clear()
    half = read_ahead(sources, is_finished, depth=2)
    next(half)
    half.close()
    assert len(asked) <= 5


def job_of(name, count, size=(200, 200)):
    image = np.zeros((200, 200, 3), np.uint8)
    hands = tuple(HandBox((10, 10, 50, 60), bool(i % 2)) for i in range(count))
    crops = [hand_crop(image, hand.box_xyxy, hand.is_right, image_size=16) for hand in hands]
    return Job(Source(Path(name), name, name), "digest", size, image, Detection(hands), crops)


def batches_of(plan, batch_size, pixels=1):
    """Gaps of the batches of a sequence of (name, hands, finished), and the order of complete images."""
    calls, order = [], []
    batcher = Batcher(batch_size)

    def take(batches):
        for batch in batches:
            calls.append([image is not None for image in batch.images])
            assert calls[-1] == [job is not None for job in batch.jobs]
            order.extend(job.source.name for job in batch.completed([Prediction({})] * len(batch.jobs)))

    for name, hands, finished in plan:
        job = job_of(name, hands, (pixels, 1))
        take(batcher.add_finished(hands, pixels) if finished else batcher.add(job))
    take(batcher.finish())
    return calls, order


def test_hands_of_several_images_share_batches():
    calls, order = batches_of([("a", 2, False), ("c", 3, False), ("d", 1, False)], 4)
    assert calls == [[True] * 4, [True] * 2]
    assert order == ["a", "c", "d"]


def test_crops_are_kept_only_for_pictures_of_them():
    for keep in (False, True):
        job = job_of("a", 2)
        (batch,) = Batcher(2, keep_crops=keep).add(job)
        assert all(image.shape == (3, 16, 16) for image in batch.images)
        assert [crop.img.size > 0 for crop in job.crops] == [keep, keep]
        assert job.crops[0].box_size > 0


def test_finished_images_keep_their_places():
    calls, order = batches_of([("a", 5, True), ("b", 2, False), ("c", 4, True), ("d", 1, False)], 4)
    assert calls == [[False, True, True, False], [False, False, False, True]]
    assert order == ["b", "d"]


def test_large_images_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(shared_tmu.demo.batching, "MAX_WAITING_PIXELS", 250)
    plan = [(str(i), 1, False) for i in range(7)]
    calls, _ = batches_of(plan, 8, pixels=100)
    assert [len(call) for call in calls] == [3, 3, 1]
    resumed, order = batches_of([(name, hands, int(name) < 4) for name, hands, _ in plan], 8, pixels=100)
    assert resumed == [[False, True, True], [True]]
    assert order == ["4", "5", "6"]


def test_a_large_image_counts_until_its_last_hand_is_predicted(monkeypatch):
    monkeypatch.setattr(shared_tmu.demo.batching, "MAX_WAITING_PIXELS", 250)
    calls, order = batches_of([("a", 5, False), ("b", 1, False), ("c", 1, False), ("d", 1, False)], 4, 100)
    assert [len(call) for call in calls] == [4, 3, 1]  # a, b and c wait with 300 pixels
    assert order == ["a", "b", "c", "d"]


def output_of_a_hand(seed=0):
    rng = np.random.default_rng(seed)
    rotmat = axis_angle_to_rotmat(torch.tensor(rng.normal(size=(16, 3)))).numpy().astype(np.float32)
    vertices = MANO.v_template.astype(np.float32)
    return {
        "pred_cam": np.array([6.0, 0.05, -0.1], np.float32),
        "global_orient": rotmat[:1],
        "hand_pose": rotmat[1:],
        "betas": rng.normal(size=10).astype(np.float32),
        "pred_vertices": vertices,
        "pred_keypoints_3d": vertices[:21],
    }


def records_of(width=640, height=480, focal_px=None):
    image = np.zeros((height, width, 3), np.uint8)
    camera = ImageCamera.of_image(width, height, focal_px)
    found = []
    for is_right in (True, False):
        box = HandBox((300, 200, 380, 310), is_right, 0.5)
        found.append(make_record(output_of_a_hand(), box, hand_crop(image, box.box_xyxy, is_right), camera))
    return found, camera


@pytest.mark.parametrize(
    ("width", "height", "focal_px"), [(640, 480, None), (12_000, 9_000, None), (640, 480, 700.0)]
)
def test_saved_joints_reproject_to_the_saved_pixels(width, height, focal_px):
    records, camera = records_of(width, height, focal_px)
    saved = np.load(io.BytesIO(to_npz(image_arrays(records, camera, MANO.faces))))
    assert float(saved["focal_px"]) == (focal_px or 5000 / 256 * max(width, height))
    points = saved["joints_3d_m"] + saved["translation_m"][:, None]
    homogeneous = points @ saved["camera_matrix"].T
    pixels = homogeneous[..., :2] / homogeneous[..., 2:]
    assert np.abs(pixels - saved["joints_2d_px"]).max() < 1e-6
    single = points.astype(np.float32) @ saved["camera_matrix"].astype(np.float32).T
    assert np.abs(single[..., :2] / single[..., 2:] - saved["joints_2d_px"]).max() < (
        1e-3 if width < 1000 else 0.05
    )


def test_saved_joints_lie_where_the_crop_says():
    (record, _), _ = records_of()
    s, tx, ty = record.values["weak_camera"]
    side, centre = float(record.values["crop_size_px"]), record.values["crop_center_px"]
    weak = centre + side * s / 2 * (record.values["joints_3d_m"][:, :2] + [tx, ty])
    assert np.abs(weak - record.values["joints_2d_px"]).max() < 1.0


def test_left_hands_are_true_mirror_images():
    (right, left), _ = records_of()
    r, v = right.values, left.values
    flip = np.array([-1.0, 1, 1])
    assert np.array_equal(v["vertices_m"], r["vertices_m"] * flip.astype(np.float32))
    assert np.array_equal(v["hand_pose_rotmat"], r["hand_pose_rotmat"] * flip[:, None] * flip)
    assert np.allclose(v["hand_pose_axis_angle"], r["hand_pose_axis_angle"] * -flip, atol=1e-6)
    assert np.allclose(v["weak_camera"], r["weak_camera"] * [1, -1, 1])
    for values in (r, v):
        rebuilt = axis_angle_to_rotmat(torch.tensor(values["hand_pose_axis_angle"], dtype=torch.float64))
        assert np.allclose(rebuilt, values["hand_pose_rotmat"], atol=1e-5)


def test_every_saved_name_is_documented_with_its_shape():
    records, camera = records_of()
    for found in (records, []):
        arrays = image_arrays(found, camera, MANO.faces)
        assert list(arrays) == [field.name for field in TABLE.fields]
        sizes = {"K": len(found), "F": 1538}
        for field in TABLE.fields:
            inside = field.shape.strip("[]")
            parts = [] if field.shape == "scalar" else re.split(r",\s*", inside)
            shape = tuple(sizes[part] if part in sizes else int(part) for part in parts)
            assert arrays[field.name].shape == shape, field
        text = json.loads(TABLE.to_json(arrays, {"image": "a.jpg"}))
        assert set(text["fields"]) == set(arrays)
        assert len(text["hands"]) == len(found)
        assert len(text["joint_names"]) == 21
        for index, hand in enumerate(text["hands"]):
            for name, value in hand.items():
                assert np.array_equal(np.array(value), arrays[name][index].astype(float)), name
        in_json = set(text) | set(text["hands"][0] if found else set(arrays))
        assert all(name in in_json for name, says in text["fields"].items() if "json" in says["where"])


def test_the_npz_is_the_same_bytes_every_time():
    records, camera = records_of()
    arrays = image_arrays(records, camera, MANO.faces)
    assert to_npz(arrays) == to_npz(arrays)


@pytest.mark.parametrize("is_right", [True, False])
def test_mesh_files_hold_the_hand_facing_outward(is_right):
    vertices = MANO.v_template * [1 if is_right else -1, 1, 1] + [0, 0, 2.0]
    faces = MANO.faces if is_right else MANO.faces[:, ::-1]
    files = mesh_files(vertices, faces, (0.5, 0.6, 0.7))
    assert files == mesh_files(vertices, faces, (0.5, 0.6, 0.7))
    for suffix, content in files.items():
        mesh = trimesh.load(io.BytesIO(content), file_type=suffix, process=False, force="mesh")
        assert mesh.faces.shape == (1538, 3)
        assert np.allclose(mesh.vertices, vertices * [1, -1, -1], atol=1e-6)
        normals = vertex_normals(mesh.vertices, mesh.faces)
        assert (((mesh.vertices - mesh.vertices.mean(axis=0)) * normals).sum(axis=1) > 0).mean() > 0.7
