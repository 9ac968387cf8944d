"""Training pictures of people on disk: SMPLest-X's inputs with their labels, stored as SynthHand's are."""

from __future__ import annotations

import numpy as np

from shared_tmu.synth.body.generator import HEIGHT, WIDTH, draw_body
from shared_tmu.synth.body.scene import sample_body_scene
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import Kind, Record, dense_cells, jpeg

CANONICAL_SCALE_M = 1.35  # int8 labels span this on either side of zero
DEPTH_SCALE_M = 1.30


def make_body_record(seed: int, index: int, difficulty: Difficulty) -> Record:
    """One training sample: JPEG bytes of the 256x192 input, and its labels.

    Returns:
        The bytes, and `part`, `canonical`, `depth` of every fourth pixel `[64, 48]` (see `dense_cells`);
        `root` `[3]`, `body` `[21, 3]`, `left_hand` and `right_hand` `[15, 3]` (with the mean pose), `jaw`
        `[3]` in radians; `betas`, `expression` `[10]`; `keypoints_3d` `[137, 3]` in metres (camera frame),
        `keypoints_2d` `[137, 2]` in shares of the input's width and height, `translation` `[3]` of the
        pelvis, `focal_px` and `centre_px` `[2]`.
    """
    scene = sample_body_scene(seed, index, difficulty)
    picture = draw_body(scene)
    camera, body, pose = picture.camera, picture.body, scene.pose
    dense = picture.part, picture.canonical, picture.depth
    labels = dense_cells(*dense, CANONICAL_SCALE_M, DEPTH_SCALE_M)
    labels |= {
        "root": pose.root,
        "body": pose.body,
        "left_hand": pose.left_hand,
        "right_hand": pose.right_hand,
        "jaw": pose.jaw,
        "betas": scene.betas,
        "expression": scene.expression,
        "keypoints_3d": body.keypoints,
        "keypoints_2d": camera.project(body.keypoints) / np.array([WIDTH, HEIGHT], np.float32),
        "translation": body.joints[0],
        "focal_px": np.array(camera.focal_px, np.float32),
        "centre_px": np.array(camera.centre_px, np.float32),
    }
    return jpeg(picture.image), labels


BODY = Kind("synthbody", 2, make_body_record, lacks=("alike", "other_hand"))
