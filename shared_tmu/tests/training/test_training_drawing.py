"""What the drawer of training pictures finds, draws again, and says of processes that were ended."""

import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest
from toy_training import PlainSet

from shared_tmu.errors import InputError
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import is_there
from shared_tmu.training.drawing import Scenes, ShardDrawer

pytestmark = pytest.mark.usefixtures("small_shards")


def test_a_drawer_knows_what_is_there(tmp_path):
    scenes = Scenes(4, 20, Difficulty())
    drawer = ShardDrawer(tmp_path, PlainSet.kind, [[scenes]], 1)
    assert drawer.available(scenes) == 0
    assert drawer.wait(scenes, 8) == 8
    assert drawer.wait(scenes, 99, is_late=lambda: True) == 8
    assert drawer.wait(scenes, 99) == 20


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_shard_is_drawn_again(tmp_path, caplog, damage):
    scenes = Scenes(4, 20, Difficulty())
    drawer = ShardDrawer(tmp_path, PlainSet.kind, [[scenes]], 1)
    drawer.wait(scenes, 20)
    path = next(tmp_path.glob("*/00000.npz"))
    whole = path.read_bytes()
    middle = len(whole) // 3
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    path.write_bytes({"cut": whole[:-100], "flipped": flipped, "empty": b""}[damage])
    assert not is_there(path)
    assert "is damaged" in caplog.text
    drawer.wait(scenes, 20)
    assert path.read_bytes() == whole


def test_a_drawing_process_that_was_ended_is_said_in_a_sentence(tmp_path):
    drawer = ShardDrawer(tmp_path, PlainSet.kind, [[Scenes(4, 20, Difficulty())]], 4)
    ended = Future()
    ended.set_exception(BrokenProcessPool("a child was ended"))
    drawer._jobs = [ended]
    with pytest.raises(InputError, match=r"memory ran out.*draw_processes=2"):
        drawer.available(Scenes(4, 20, Difficulty()))


def test_one_process_draws_on_while_training_has_begun(tmp_path):
    scenes = Scenes(4, 20, Difficulty())
    drawer = ShardDrawer(tmp_path, PlainSet.kind, [[scenes]], 1)
    drawer.start(beside_training=True)
    assert drawer.wait(scenes, 8) >= 8
    deadline = time.monotonic() + 120
    while drawer.available(scenes) < 20:  # nobody asks for more
        assert time.monotonic() < deadline
        time.sleep(0.05)
    drawer.close()
