"""Finds hands like HaMeR's published demo: people by detectron2, then whole-body key points by ViTPose.

Files, all in one folder (`--detector_dir`):

- `model_final_f05665.pkl` (ViTDet-H, `--body_detector vitdet`) or `model_final_ef3a80.pkl` (RegNetY,
  `--body_detector regnety`), from detectron2's model zoo;
- `wholebody.pth` (ViTPose+ huge) and `ViTPose_huge_wholebody_256x192.py`, its mmpose configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.array_pickle import read_array_pickle
from shared_tmu.detect.base import Detection, HandBox, valid_boxes
from shared_tmu.errors import CheckpointError, MissingAssetError, MissingDependencyError

BODY_FILES = {"vitdet": "model_final_f05665.pkl", "regnety": "model_final_ef3a80.pkl"}
POSE_WEIGHTS = "wholebody.pth"
POSE_CONFIG = "ViTPose_huge_wholebody_256x192.py"
MAX_WEIGHT_BYTES = 8 << 30
MIN_PERSON_SCORE = 0.5
MIN_KEYPOINT_SCORE = 0.5
MIN_KEYPOINTS = 4


def required_files(folder: Path, body_detector: str) -> tuple[Path, ...]:
    """The three files that this detector reads."""
    return folder / BODY_FILES[body_detector], folder / POSE_WEIGHTS, folder / POSE_CONFIG


def hands_from_keypoints(keypoints: NDArray[np.floating[Any]]) -> list[HandBox]:
    """Hand boxes from one person's whole-body key points.

    Args:
        keypoints: `[K, 3]` (x, y in pixels, confidence); the last 42 are the left hand's 21 and the right
            hand's 21.

    Returns:
        For each hand with at least 4 points above 0.5: the box of those points, with their mean confidence as
        score and the points as landmarks.
    """
    hands = []
    for is_right, points in ((False, keypoints[-42:-21]), (True, keypoints[-21:])):
        is_sure = points[:, 2] > MIN_KEYPOINT_SCORE
        sure = points[is_sure]
        if len(sure) < MIN_KEYPOINTS:
            continue
        (x1, y1), (x2, y2) = sure[:, :2].min(axis=0), sure[:, :2].max(axis=0)
        box = (float(x1), float(y1), float(x2), float(y2))
        landmarks = np.where(is_sure[:, None], points[:, :2].astype(np.float64), np.nan)
        hands.append(HandBox(box, is_right, float(sure[:, 2].mean()), landmarks))
    return hands


class VitDetDetector:
    """Finds people, then key points, then hands; needs detectron2, mmpose and the files named above."""

    name = "vitdet"

    def __init__(self, folder: Path, body_detector: str = "vitdet", device: str = "cpu") -> None:
        missing = [path.name for path in required_files(folder, body_detector) if not path.is_file()]
        if missing:
            raise MissingAssetError(
                f"the vitdet detector was asked for, but {folder} lacks {', '.join(missing)}: the first "
                "file is in detectron2's model zoo, the others come with ViTPose. Name another folder with "
                "--detector_dir, or use --detector mediapipe, which needs no files."
            )
        _require("detectron2", "https://github.com/facebookresearch/detectron2")
        _require("mmpose", "https://github.com/ViTAE-Transformer/ViTPose")
        body, weights, config = required_files(folder, body_detector)
        self._body = _load_body(body, body_detector, device)
        self._pose = _load_pose(weights, config, device)

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """Hands of all people in one image `[H, W, 3]`; `image_name` is not used."""
        from mmpose.apis import inference_top_down_pose_model

        people = [{"bbox": box} for box in self._people(image_bgr)]
        if not people:
            return Detection(())
        poses, _ = inference_top_down_pose_model(self._pose, image_bgr, person_results=people, format="xyxy")
        hands = [hand for pose in poses for hand in hands_from_keypoints(np.asarray(pose["keypoints"]))]
        return valid_boxes(hands, image_bgr)

    def _people(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Boxes and scores of people, `[K, 5]`."""
        found = self._body(image_bgr)["instances"]
        sure = (found.pred_classes == 0) & (found.scores > MIN_PERSON_SCORE)
        boxes = np.asarray(found.pred_boxes.tensor[sure].cpu(), dtype=np.float64)
        scores = np.asarray(found.scores[sure].cpu(), dtype=np.float64)
        return np.concatenate([boxes, scores[:, None]], axis=1)


def _require(package: str, source: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingDependencyError(
            f"the vitdet detector was asked for, but the package {package} is not installed: install it from "
            f"{source}, or use --detector mediapipe."
        )


def _load_body(weights: Path, body_detector: str, device: str) -> Any:
    """A callable from a BGR image to detectron2's output dictionary."""
    import torch
    from detectron2.config import instantiate
    from detectron2.data import transforms

    config = _vitdet_h() if body_detector == "vitdet" else _regnety()
    model = instantiate(config.model).eval().to(device)
    arrays = read_array_pickle(weights, MAX_WEIGHT_BYTES)["model"]  # no code from the pickle is executed
    _load_all(model, {key: torch.as_tensor(value) for key, value in arrays.items()}, weights)
    shorter, longer = (1024, 1024) if body_detector == "vitdet" else (800, 1333)
    resize = transforms.ResizeShortestEdge(short_edge_length=shorter, max_size=longer)

    def predict(image_bgr: NDArray[np.uint8]) -> Any:
        height, width = image_bgr.shape[:2]
        pixels = image_bgr if model.input_format == "BGR" else image_bgr[:, :, ::-1]
        shown = np.asarray(resize.get_transform(pixels).apply_image(pixels), np.float32)
        tensor = torch.as_tensor(np.ascontiguousarray(shown.transpose(2, 0, 1)), device=device)
        with torch.no_grad():
            return model([{"image": tensor, "height": height, "width": width}])[0]

    return predict


def _regnety() -> Any:
    """Mask R-CNN on RegNetY-4GF, with the thresholds of HaMeR's demo."""
    from detectron2 import model_zoo

    config = model_zoo.get_config("new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ.py")
    last = config.model.roi_heads.box_predictor
    last.test_score_thresh, last.test_nms_thresh = 0.5, 0.4
    return config


def _vitdet_h() -> Any:
    """Cascade Mask R-CNN on ViT-H: detectron2's ViTDet in the sizes of its paper, arXiv:2203.16527."""
    from detectron2 import model_zoo
    from detectron2.modeling.roi_heads import CascadeROIHeads

    config = model_zoo.get_config("common/models/mask_rcnn_vitdet.py")
    trunk, heads = config.model.backbone.net, config.model.roi_heads
    trunk.embed_dim, trunk.depth, trunk.num_heads, trunk.drop_path_rate = 1280, 32, 16, 0.5
    trunk.window_block_indexes = [block for block in range(32) if block % 8 != 7]
    stages = [_cascade_stage(10.0 * number, 0.4 + 0.1 * number) for number in (1, 2, 3)]
    for single, several in (
        ("box_head", "box_heads"),
        ("box_predictor", "box_predictors"),
        ("proposal_matcher", "proposal_matchers"),
    ):
        heads.pop(single)
        heads[several] = [stage[single] for stage in stages]
    heads["_target_"] = CascadeROIHeads
    return config


def _cascade_stage(box_weight: float, overlap: float) -> dict[str, Any]:
    """One of the three stages of the box cascade: the weights of the box regression, and the overlap
    threshold.
    """
    from detectron2.config import LazyCall
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.roi_heads import FastRCNNConvFCHead, FastRCNNOutputLayers

    weights = (box_weight, box_weight, box_weight / 2, box_weight / 2)
    pooled, vector = ShapeSpec(channels=256, height=7, width=7), ShapeSpec(channels=1024)
    return {
        "box_head": LazyCall(FastRCNNConvFCHead)(
            input_shape=pooled, conv_dims=4 * [256], fc_dims=[vector.channels], conv_norm="LN"
        ),
        "box_predictor": LazyCall(FastRCNNOutputLayers)(
            input_shape=vector,
            num_classes=80,
            cls_agnostic_bbox_reg=True,
            box2box_transform=LazyCall(Box2BoxTransform)(weights=weights),
            test_score_thresh=0.25,
        ),
        "proposal_matcher": LazyCall(Matcher)(
            thresholds=[overlap], labels=[0, 1], allow_low_quality_matches=False
        ),
    }


def _load_pose(weights: Path, config: Path, device: str) -> Any:
    """mmpose's network for whole-body key points."""
    import torch
    from mmpose.apis import init_pose_model

    model = init_pose_model(str(config), None, device=device)
    checkpoint = torch.load(weights, map_location=device, weights_only=True)
    _load_all(model, checkpoint.get("state_dict", checkpoint), weights)
    return model.eval()


def _load_all(model: Any, state: Mapping[str, Any], path: Path) -> None:
    """Load weights; refuse a file that would leave some of the network's weights untrained."""
    missing = set(model.load_state_dict(dict(state), strict=False).missing_keys) - {"pixel_mean", "pixel_std"}
    if missing:
        raise CheckpointError(
            f"{path.name} lacks {len(missing)} weights of the network, such as {min(missing)}: it belongs "
            "to another model."
        )
