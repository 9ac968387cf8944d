"""What the demo's tests share: a tiny model that shows SynthHand, a folder of pictures, comparing folders."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from torch import nn
from toy_hand_model import SIZE, Backbone, program_of

from shared_tmu.body_models.mano import load_mano
from shared_tmu.demo import main
from shared_tmu.pictures.geometry import axis_angle_to_rotmat

MANO = load_mano()
BOXES = {
    "a.jpg": [
        {"box_xyxy": [30, 20, 70, 70], "is_right": True},
        {"box_xyxy": [90, 30, 130, 80], "is_right": False},
    ],
    "b.png": [{"box_xyxy": [10, 10, 60, 70], "is_right": False, "score": 0.5}],
    "c.jpg": [],
    "d.jpg": [{"box_xyxy": [5 * i, 40, 5 * i + 40, 90], "is_right": i % 2 == 0} for i in range(4)],
}
SIZES = {"a.jpg": (160, 120), "b.png": (100, 90), "c.jpg": (50, 60), "d.jpg": (120, 150)}


class ToyDemoHand(nn.Module):
    """Crops `[B, 3, 64, 64]` to SynthHand's rest hand, seen from above, moved a little by the picture."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(image_size=SIZE, backbone=SimpleNamespace(grid=(8, 8)))
        self.backbone = Backbone()
        self.head = nn.Linear(16, 61)
        self.mano = SimpleNamespace(faces=MANO.faces)
        turned = MANO.v_template @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]).T
        self.register_buffer("template", torch.tensor(turned, dtype=torch.float32))

    def forward(self, batch):
        code = 3.0 * self.head(self.backbone(batch["img"].to(self.head.weight.dtype)).mean(1)).float()
        rotmat = axis_angle_to_rotmat(code[:, :48].unflatten(-1, (16, 3)))
        camera = torch.tensor([5.5, 0.0, 0.0]) + 0.1 * code[:, 48:51]
        vertices = self.template + 0.01 * code[:, None, 48:51]
        return {
            "pred_cam": camera,
            "pred_mano_params": {
                "global_orient": rotmat[:, :1],
                "hand_pose": rotmat[:, 1:],
                "betas": code[:, 51:61],
            },
            "pred_vertices": vertices,
            "pred_keypoints_3d": vertices[:, :21],
        }


def demo_program(folder):
    folder.mkdir(exist_ok=True)
    return program_of(folder, lambda *paths: ToyDemoHand().eval(), folder / "toy.pt")


def write_pictures(folder: Path, sizes=SIZES):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name, (width, height) in sizes.items():
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return folder


def write_boxes(path: Path, boxes=BOXES):
    path.write_text(json.dumps(boxes))
    return path


def run(program, images, out, *flags, boxes=None):
    """The demo's exit status."""
    arguments = [
        "--img_folder",
        images,
        "--out_folder",
        out,
        "--device",
        "cpu",
        "--r",
        "4x3",
        "--batch_size",
        3,
    ]
    if boxes is not None:
        arguments += ["--boxes", boxes]
    return main(program, [str(argument) for argument in (*arguments, *flags)])


def contents(folder: Path):
    """Every file under a folder, hidden ones too, with its bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def results(folder: Path):
    """Names of the visible files."""
    return sorted(name for name in contents(folder) if not name.startswith("."))
