"""Clips that are damaged, cut off, or no videos at all."""

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clip_making import LIVE, PICTURE, SIZE, make, read

from shared_tmu.demo import clip_files
from shared_tmu.demo.clip_structure import find_fault
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.clips import Clip
from shared_tmu.errors import InputError


@pytest.mark.parametrize(("name", "codec"), [("m.avi", "mpeg4"), ("h.mp4", "libx264"), ("h.mkv", "libx264")])
def test_damage_in_the_middle_is_said_and_the_rest_is_read(tmp_path, name, codec):
    path = make(tmp_path / name, codec)
    with av.open(str(path)) as container:
        coded = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content, frame = path.read_bytes(), coded[7]
    assert content.count(frame) == 1
    # a whole coded frame and nothing of the container: where it lies depends on the number of cores with x264
    path.write_bytes(content.replace(frame, np.random.default_rng(0).bytes(len(frame))))
    reader, frames = read(path)
    assert len(frames) >= 10
    assert any("with errors" in problem or "cannot be decoded" in problem for problem in reader.problems())


HOLES = [
    ("v.webm", "libvpx", {}),
    ("live.webm", "libvpx", LIVE),
    ("v9.webm", "libvpx-vp9", {}),
    ("j.mkv", "mjpeg", {"pixels": "yuvj420p"}),
    ("v.ogv", "libvpx", {}),
    ("j.avi", "mjpeg", {"pixels": "yuvj420p"}),
    ("h.ts", "libx264", {}),
]


@pytest.mark.parametrize(("name", "codec", "how"), HOLES, ids=[row[0] for row in HOLES])
@pytest.mark.parametrize("kind", ["zeros", "noise", "gone"])
def test_no_frame_is_lost_without_a_word(tmp_path, name, codec, how, kind):
    path = make(tmp_path / name, codec, **how)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    intact, frames = read(path)
    assert (intact.problems(), len(frames)) == ([], 20)
    for length in (len(whole) // 15 | 1, 301, 60, 16):  # whole packets of a .ts may be cut out of it
        for at in rng.integers(len(whole) // 10, len(whole) * 9 // 10, 2):
            filling = {"zeros": bytes(length), "noise": rng.bytes(length), "gone": b""}[kind]
            path.write_bytes(whole[:at] + filling + whole[at + length :])
            reader, frames = read(path)
            if len(frames) < 20 or abs(reader.end_s - intact.end_s) > 0.05:
                assert len(reader.problems()) >= 1, (at, length, len(frames))


def test_a_checksum_in_the_file_finds_wrong_pixels(tmp_path):
    for name, codec in (("v.mkv", "libvpx"), ("v.ogv", "libvpx")):
        path = make(tmp_path / name, codec)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert "the file is damaged at byte" in read(path)[0].problems()[0]


@pytest.mark.parametrize(("name", "how"), [("live.webm", LIVE), ("v.ogv", {})])
@pytest.mark.parametrize("share", [0.4, 0.9, 0.99])
def test_a_recording_that_does_not_tell_its_length_is_cut_off(tmp_path, name, how, share):
    path = make(tmp_path / name, "libvpx", **how)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "the rest is damaged or missing" in read(path)[0].problems()[0]


def test_what_lies_behind_a_clip_is_no_damage(tmp_path):
    for name, codec in (("h.mkv", "libx264"), ("m.avi", "mpeg4"), ("m.mp4", "mpeg4"), ("v.webm", "libvpx")):
        path = make(tmp_path / name, codec)
        path.write_bytes(path.read_bytes() + b"and a word of mine" + bytes(100))
        reader, frames = read(path)
        assert (reader.problems(), len(frames)) == ([], 20), name


def test_streams_joined_or_begun_in_the_middle_are_no_damage(tmp_path):
    content = make(tmp_path / "a.ts", "mpeg4", range(0, 4000, 100)).read_bytes()
    (tmp_path / "joined.ts").write_bytes(content * 2)
    (tmp_path / "middle.ts").write_bytes(content[188 * 30 :])
    joined, frames = read(tmp_path / "joined.ts")
    assert (joined.problems(), len(frames)) == ([], 80)
    assert joined.end_s == pytest.approx(8.0, abs=0.2)
    middle, frames = read(tmp_path / "middle.ts")
    assert middle.problems() == []
    assert 5 < len(frames) < 40


LISTS = {
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n",
    "concat.mp4": "ffconcat version 1.0\nfile '{other}'\n",
    "sdp.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash.mp4": "<?xml version='1.0'?><MPD profiles='urn:dash'><BaseURL>{other}</BaseURL></MPD>",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_opens_no_other_file(tmp_path, name):
    other = make(tmp_path / "other.ts", "mpeg4")
    (tmp_path / name).write_text(LISTS[name].format(other=other))
    with pytest.raises(InputError, match="a playlist that names other files"):
        Clip.open(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["concat:a.ts|b.ts", "subfile,,start,0,end,9,,:a.ts", "data:video/mp4;base64,AA"]
)
def test_addresses_are_names_of_files_or_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.ts", "mpeg4")
    with pytest.raises(InputError, match=r"^--video .* (is a URL|does not exist)"):
        Clip.open(Path(name))


@pytest.mark.parametrize("given", ["0", "rtsp://host/live", "http://host/clip.mp4", "/dev/video7"])
def test_cameras_and_streams_have_a_flag_of_their_own(given):
    with pytest.raises(InputError, match="use --camera") as caught:
        Clip.open(Path(given))
    assert given in str(caught.value)


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    cases = {
        tmp_path: "is a folder",
        tmp_path / "pipe.mp4": "is a pipe",
        Path("/dev/zero"): "is a camera or another device",
        tmp_path / "dangling.mp4": "is a link to a file that does not exist",
        tmp_path / "loop.mp4": "cannot be opened",
        tmp_path / ("x" * 300 + ".mp4"): "cannot be opened",
        tmp_path / "img%03d.png": "does not exist.*--img_folder",
    }
    for path, what in cases.items():
        with pytest.raises(InputError, match=what):
            Clip.open(path)


def test_a_pattern_or_a_name_that_is_no_text_is_a_name(tmp_path):
    for name in (b"img%03d.mp4", b"caf\xe9.mp4", b"\xff\xfe.mp4"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        make(tmp_path / "plain.mp4").rename(path)
        assert len(read(path)[1]) == 20


def test_pictures_and_sound_are_no_videos(tmp_path):
    cv2.imwrite(str(tmp_path / "p.png"), PICTURE)
    cv2.imwrite(str(tmp_path / "p.jpg"), PICTURE)
    for name in ("p.png", "p.jpg"):
        with pytest.raises(InputError, match=r"is a picture.*--img_folder"):
            Clip.open(tmp_path / name)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        for index in range(20):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate, sound.pts = 48000, 1024 * index
            container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="holds only sound"):
        Clip.open(tmp_path / "sound.mp4")


def test_an_animation_is_a_clip_but_not_as_webp(tmp_path):
    from PIL import Image

    pictures = [Image.fromarray(np.roll(PICTURE, 5 * index, 1)) for index in range(4)]
    for name in ("a.gif", "a.webp"):
        pictures[0].save(
            tmp_path / name, save_all=True, append_images=pictures[1:], duration=[100, 50, 300, 70]
        )
    reader, frames = read(tmp_path / "a.gif")
    assert len(frames) == 4
    assert reader.times_s == pytest.approx([0, 0.1, 0.15, 0.45])
    assert reader.end_s == pytest.approx(0.52)
    with pytest.raises(InputError, match=r"WebP picture \(animations are not supported\)"):
        Clip.open(tmp_path / "a.webp")


def test_a_full_disk_is_an_error_whenever_it_fills(tmp_path):
    (tmp_path / "o.mp4").symlink_to("/dev/full")

    def write_all(writer):
        for index in range(50):
            writer.write(np.roll(PICTURE, index, 1), index / 10)
        writer.finish(5.0)

    with ClipWriter(tmp_path / "o.mp4", SIZE) as writer, pytest.raises(OSError, match="No space left"):
        write_all(writer)


class Failing:
    """A file on a disk that cannot be read."""

    def seek(self, offset, whence=0):
        return 10**6 if whence else offset

    def tell(self):
        return 0

    def read(self, count=-1):
        raise OSError(5, "Input/output error")


def test_a_disk_that_cannot_be_read_is_said():
    with pytest.raises(InputError, match=r"--video a.mkv cannot be read \(Input/output error\)"):
        clip_files.open_container(Failing(), Path("a.mkv"))
    assert find_fault(Failing()).place == 0


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif", b"avis"])
def test_a_picture_in_a_container_of_videos_is_a_picture(tmp_path, brand):
    path = make(tmp_path / "photo.mp4", "mpeg4")
    content = path.read_bytes()
    path.write_bytes(content[:8] + brand + content[12:])
    with pytest.raises(InputError, match=r"is a picture.*--img_folder"):
        Clip.open(path)


def test_damage_in_the_second_of_two_joined_recordings_is_said(tmp_path):
    path = make(tmp_path / "live.webm", "libvpx", **LIVE)
    one = path.read_bytes()
    path.write_bytes(one * 2)
    assert read(path)[0].problems() == []
    path.write_bytes(one + one[: len(one) // 2] + bytes(2000) + one[len(one) // 2 + 2000 :])
    assert len(read(path)[0].problems()) == 1
