"""Streams by their address, served on this machine: pictures one after the other (MJPEG), and a file."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from clip_runs import FRAMES, SIZE, frames_of, write_clip
from toy_demo import write_boxes

from shared_tmu.demo import live, main

SENT = 12


def pictures():
    """JPEG pictures, each of another brightness."""
    for number in range(SENT):
        pixels = np.full((SIZE[1], SIZE[0], 3), 20 * number, np.uint8)
        yield cv2.imencode(".jpg", pixels)[1].tobytes()


@contextmanager
def served(content=None):
    """Serves `clip.mp4` with this content, and `camera.mjpg`; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/camera.mjpg":
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
                self.end_headers()
                for picture in pictures():
                    head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
            elif self.path.startswith("/clip.mp4") and content is not None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            else:
                self.send_error(404)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(program, address, out, tmp_path, *flags):
    hands = [{"box_xyxy": [30, 20, 70, 70], "is_right": True}]
    boxes = write_boxes(tmp_path / "boxes.json", dict.fromkeys(names_of(address), hands))
    arguments = ["--camera", address, "--out_folder", out, "--device", "cpu", "--r", "4x3", "--boxes", boxes]
    return main(program, [str(word) for word in (*arguments, "--draw_processes", "0", *flags)])


def names_of(address):
    return [live.name_of(address)]


@pytest.mark.parametrize("kind", ["camera.mjpg", "clip.mp4"])
def test_a_stream_gives_whole_files_when_it_ends(program, out, tmp_path, capsys, kind):
    content = write_clip(tmp_path / "in" / "clip.mp4").read_bytes()
    with served(content) as address:
        assert run(program, f"{address}/{kind}", out, tmp_path) == 0
    name = live.name_of(f"{address}/{kind}")
    saved, about = np.load(out / f"{name}.npz"), json.loads((out / f"{name}.json").read_text())
    taken = len(saved["frame_time_s"])
    assert 1 <= taken <= {"camera.mjpg": SENT, "clip.mp4": FRAMES}[kind]
    assert taken + about["frames_dropped"] >= {"camera.mjpg": SENT, "clip.mp4": FRAMES}[kind] - 2
    assert len(frames_of(out / f"{name}.mp4")) == taken
    assert saved["track_id"].tolist() == [0] * taken
    text = capsys.readouterr().out
    assert "frames dropped" in text
    assert "ms from grabbing to saving" in text


def test_an_address_without_a_video_is_said_without_its_secrets(program, out, tmp_path, caplog, capfd):
    with served() as address:
        secret = address.replace("http://", "http://anna:geheim@") + "/nothing.mp4?key=schluessel"
        assert run(program, secret, out, tmp_path) == 1
    assert "cannot be opened: nothing answers there, or not with a video" in caplog.text
    shown = "".join(capfd.readouterr()) + caplog.text
    assert "geheim" not in shown
    assert "schluessel" not in shown
    assert not out.exists()


def test_a_server_that_is_not_there_is_said_and_nothing_else(program, out, tmp_path, caplog, capfd):
    with served() as address:
        pass
    assert run(program, f"{address}/clip.mp4", out, tmp_path) == 1
    assert "cannot be opened: nothing answers there" in caplog.text
    noise = capfd.readouterr().err
    assert "refused" not in noise
    assert "WARN" not in noise
