"""Subjects on known ways, followed by a detector that is asked rarely and a model that sees them."""

from types import SimpleNamespace

import numpy as np

from shared_tmu.demo.tracks.mesh_follower import AHEAD, MeshFollower
from shared_tmu.detect import Detection, HandBox, PersonBox

FPS, SIZE_PX = 25.0, (640, 480)


class World:
    """Subjects on known ways; a detector and a model that see them.

    Args:
        ways: by name, a function from frame to middle and side of the box, or None if it is not there.
        sees: a function from frame and name to whether the detector finds it.
        side: a function from frame and name to the side that it says; None for people.
    """

    def __init__(self, ways, sees=lambda frame, name: True, side=lambda frame, name: name.islower()):
        self.ways, self.sees, self.side, self.searched = ways, sees, side, []
        self.last = None

    def true_box(self, name, frame):
        if self.ways[name](frame) is None:
            return None
        x, y, size = self.ways[name](frame)
        return (x - size / 2, y - size / 2, x + size / 2, y + size / 2)

    def find(self, loaded):
        frame = int(loaded.source.key)
        self.searched.append(frame)
        boxes = []
        for name in self.ways:
            box = self.true_box(name, frame)
            if box is not None and box[0] + box[2] < 2 * SIZE_PX[0] and self.sees(frame, name):
                side = self.side(frame, name)
                boxes.append(PersonBox(box, 0.9) if side is None else HandBox(box, side, 0.9))
        return Detection(tuple(boxes))

    def newest(self):
        return self.last

    def outline(self, job, index):
        """The model sees the subject that is nearest to the middle of its crop; else it sees what is not."""
        frame, box = int(job.source.key), np.reshape(job.detection.boxes[index].box_xyxy, (2, 2))
        middle, size = box.mean(0), (box[1] - box[0]).max()
        there = [self.true_box(name, frame) for name in self.ways]
        near = [np.reshape(one, (2, 2)) for one in there if one is not None]
        near = sorted(near, key=lambda one: np.linalg.norm(one.mean(0) - middle))
        if near and np.linalg.norm(near[0].mean(0) - middle) < size:
            return 0.8 * (near[0] - near[0].mean(0)) + near[0].mean(0) + (3, 1)  # not what the detector boxes
        return box

    def follow(self, frames, every, ahead=AHEAD):
        follower = MeshFollower(self.find, lambda t: t / FPS, every, self.newest, self.outline, ahead)
        out = {}

        def keep(found):
            for loaded, detection in found:
                self.last = SimpleNamespace(source=loaded.source, detection=detection, size_px=SIZE_PX)
                out[int(loaded.source.key)] = list(detection.boxes)

        for frame in range(frames):
            keep(follower.take(SimpleNamespace(source=SimpleNamespace(key=str(frame)))))
        keep(follower.finish())
        return out


def tracks_of(found):
    out = {}
    for frame, boxes in found.items():
        for box in boxes:
            out.setdefault(box.track, {})[frame] = box
    return out


def still(x, y=200.0, size=80.0):
    return lambda frame: (x, y, size)


def moving(x, step, y=200.0, size=80.0):
    return lambda frame: (x + step * frame, y, size)
