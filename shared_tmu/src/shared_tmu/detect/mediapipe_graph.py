"""Runs MediaPipe's palm and landmark models separately and without their log output.

`mediapipe.solutions.hands` runs both on every picture. Run separately, the palm model can process many tiles,
and the landmark model only the palms that were found; both keep MediaPipe's own pre- and post-processing.

Convention: MediaPipe names hands for mirrored pictures (selfies); here a right hand is the person's right
hand in an ordinary photograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.landmarks import HandView, Palm, Square
from shared_tmu.detect.quiet import quiet_native_stderr
from shared_tmu.detect.tiles import Tile
from shared_tmu.errors import MissingDependencyError

_FULL_MODEL = 1
_PRESENCE = "handlandmarkcpu__hand_presence_score"

_HOW = (
    "pip install 'shared_tmu[detect]' (Python 3.11 or 3.12, NumPy 1), or find hands with --detector litert "
    "('shared_tmu[litert]', any Python), or give boxes: --boxes FILE, or boxes= in Python."
)
_PALMS = """
    input_stream: "image" input_side_packet: "model_complexity" output_stream: "palms"
    node {
      calculator: "PalmDetectionCpu" input_side_packet: "MODEL_COMPLEXITY:model_complexity"
      input_stream: "IMAGE:image" output_stream: "DETECTIONS:palms"
    }"""
_LANDMARKS = """
    input_stream: "image" input_stream: "square" input_side_packet: "model_complexity"
    output_stream: "landmarks" output_stream: "handedness"
    node {
      calculator: "HandLandmarkCpu" input_side_packet: "MODEL_COMPLEXITY:model_complexity"
      input_stream: "IMAGE:image" input_stream: "ROI:square"
      output_stream: "LANDMARKS:landmarks" output_stream: "HANDEDNESS:handedness"
    }"""


class PalmModel:
    """Finds palms in a tile; to be used by one thread at a time.

    Args:
        min_score: palms with a lower score are not reported.

    Raises:
        MissingDependencyError: mediapipe is not installed.
    """

    def __init__(self, min_score: float) -> None:
        from_mediapipe = import_mediapipe()
        from mediapipe.calculators.tensor import tensors_to_detections_calculator_pb2 as detections

        extension = detections.TensorsToDetectionsCalculatorOptions.ext
        options = {"TensorsToDetectionsCalculator": (extension, "min_score_thresh", min_score)}
        self._graph = _Graph(from_mediapipe, _PALMS, options, ("palms",))

    def run(self, tile: Tile) -> list[Palm]:
        """Palms in a tile, in pixels of the image."""
        packet = self._graph.run(tile.pixels).get("palms")
        if packet is None or packet.is_empty():
            return []
        found = []
        for detection in self._graph.mediapipe.packet_getter.get_proto_list(packet):
            place = detection.location_data
            points = np.array([(point.x, point.y) for point in place.relative_keypoints], np.float64)
            box = place.relative_bounding_box
            corners = [(box.xmin, box.ymin), (box.xmin + box.width, box.ymin + box.height)]
            (x1, y1), (x2, y2) = tile.to_image(np.array(corners, np.float64) * tile.size_px).tolist()
            points_px = tile.to_image(points * tile.size_px)
            found.append(Palm(points_px, (x1, y1, x2, y2), float(detection.score[0])))
        return found


class LandmarkModel:
    """Finds the joints of the hand in a square, with a confidence; to be used by one thread at a time.

    Raises:
        MissingDependencyError: mediapipe is not installed.
    """

    def __init__(self) -> None:
        from_mediapipe = import_mediapipe()
        from mediapipe.calculators.util import thresholding_calculator_pb2 as thresholding
        from mediapipe.framework.formats import rect_pb2

        # The threshold decides whether landmarks are returned; here the caller decides, by presence.
        extension = thresholding.ThresholdingCalculatorOptions.ext
        options = {"ThresholdingCalculator": (extension, "threshold", 0.0)}
        self._rect = rect_pb2.NormalizedRect
        streams = ("landmarks", "handedness", _PRESENCE)
        whole = self._rect(x_center=0.5, y_center=0.5, width=1, height=1)
        self._graph = _Graph(from_mediapipe, _LANDMARKS, options, streams, square=whole)

    def run(self, tile: Tile, square: Square, is_mirrored: bool = False) -> HandView:
        """The hand in a square of the tile, which the model sees as it is or mirrored."""
        width, height = tile.size_px
        x, y = tile.of_image(np.array(square.centre_px)).tolist()
        rect = self._rect(
            x_center=(width - 1 - x if is_mirrored else x) / width,
            y_center=y / height,
            width=square.side_px / tile.scale[0] / width,
            height=square.side_px / tile.scale[1] / height,
            rotation=-square.angle if is_mirrored else square.angle,
        )
        seen = self._graph.run(tile.pixels[:, ::-1] if is_mirrored else tile.pixels, square=rect)
        getter = self._graph.mediapipe.packet_getter
        marks = getter.get_proto(seen["landmarks"]).landmark
        points = np.array([(mark.x, mark.y) for mark in marks], np.float64) * tile.size_px
        if is_mirrored:
            points[:, 0] = width - 1 - points[:, 0]
        named = getter.get_proto(seen["handedness"]).classification[0]
        is_right = (named.label == "Left") != is_mirrored
        right = float(named.score) * (1 if is_right else -1)
        return HandView(tile.to_image(points), right, float(getter.get_float(seen[_PRESENCE])))


class _Graph:
    """One of MediaPipe's subgraphs, running on one thread.

    Args:
        mediapipe: the package.
        text: the graph, as MediaPipe writes it.
        options: calculator to (extension, field, value), set after the subgraphs are expanded.
        streams: outputs to keep.
        **protos: inputs other than the image, for a first run: models load, and log this, on first use.
    """

    def __init__(
        self,
        mediapipe: Any,
        text: str,
        options: Mapping[str, tuple[Any, str, Any]],
        streams: tuple[str, ...],
        **protos: Any,
    ) -> None:
        from mediapipe.calculators.tensor import inference_calculator_pb2 as inference
        from mediapipe.framework import calculator_pb2

        self.mediapipe = mediapipe
        short, full = calculator_pb2.CalculatorGraphConfig(), calculator_pb2.CalculatorGraphConfig()
        import_module("google.protobuf.text_format").Parse(text, short)  # the package has no type annotations
        with quiet_native_stderr():
            mediapipe.resource_util.set_resource_dir(str(Path(mediapipe.__file__).parents[1]))
            expanded = mediapipe.ValidatedGraphConfig()
            expanded.initialize(graph_config=short)
            full.ParseFromString(expanded.binary_config)
            for node in full.node:
                if node.calculator == "InferenceCalculatorCpu":
                    how = node.options.Extensions[inference.InferenceCalculatorOptions.ext]
                    how.delegate.xnnpack.num_threads = 1
                if node.calculator in options:
                    extension, name, value = options[node.calculator]
                    setattr(node.options.Extensions[extension], name, value)
            self._graph = mediapipe.CalculatorGraph(graph_config=full)
            self._seen: dict[str, Any] = {}
            self._time = 0
            for stream in streams:
                self._graph.observe_output_stream(stream, self._seen.__setitem__, True)
            self._graph.start_run({"model_complexity": mediapipe.packet_creator.create_int(_FULL_MODEL)})
            self.run(np.zeros((64, 64, 3), np.uint8), **protos)

    def run(self, pixels: NDArray[np.uint8], **protos: Any) -> dict[str, Any]:
        """The graph's outputs for an RGB picture `[H, W, 3]`: packets by stream."""
        create = self.mediapipe.packet_creator
        self._time += 1
        self._seen.clear()
        frame = self.mediapipe.ImageFrame(self.mediapipe.ImageFormat.SRGB, np.ascontiguousarray(pixels))
        self._graph.add_packet_to_input_stream("image", create.create_image_frame(frame).at(self._time))
        for name, proto in protos.items():
            self._graph.add_packet_to_input_stream(name, create.create_proto(proto).at(self._time))
        self._graph.wait_until_idle()
        return self._seen


def import_mediapipe() -> Any:
    """Import MediaPipe without its log messages.

    Raises:
        MissingDependencyError: it is not installed, or is a version without graphs.
    """
    with quiet_native_stderr():
        try:
            import mediapipe
        except ImportError as error:
            raise MissingDependencyError(
                f"the mediapipe detector was asked for, but mediapipe is not installed: {_HOW}"
            ) from error
    if not hasattr(mediapipe, "CalculatorGraph"):
        found = getattr(mediapipe, "__version__", "of an unknown version")
        raise MissingDependencyError(
            f"the mediapipe detector was asked for, but mediapipe {found} has no graphs any more: {_HOW}"
        )
    return mediapipe
