"""What cannot be a file says so, in one sentence."""

from pathlib import Path

import pytest

from shared_tmu.errors import InputError
from shared_tmu.programs.places import require_places


@pytest.mark.parametrize(
    "text", ["rtsp://10.0.0.1/stream", "http://a.b/c.mp4", "https://a.b", "udp://@:1234", "file:///a.mp4"]
)
@pytest.mark.parametrize(
    ("flag", "words"), [("--video", "for a stream use --camera"), ("--img_folder", "downloaded")]
)
def test_addresses_are_no_files(text, flag, words):
    with pytest.raises(InputError, match=words) as caught:
        require_places({flag: Path(text)})
    assert "://" in str(caught.value)


@pytest.mark.parametrize("text", ["0", "12", "camera:1", "webcam", "video0", "/dev/video0", "/dev/null"])
def test_cameras_have_a_flag_of_their_own(text):
    with pytest.raises(InputError, match="use --camera"):
        require_places({"--video": Path(text)})
    require_places({"--out_folder": Path("0")})


def test_files_of_such_names_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0", "webcam"):
        Path(name).write_bytes(b"1")
        require_places({"--video": Path(name)})
    Path("http:/a").mkdir(parents=True)
    require_places({"--img_folder": Path("http:/a"), "--r": "5x20", "--boxes": None})
    require_places(
        {"--checkpoint": Path("0/below"), "--out_folder": Path("C:/x")}
    )  # not there; others say so


@pytest.mark.parametrize("flag", ["--img_folder", "--out_folder", "--boxes", "--report", "--video"])
def test_names_that_cannot_be_looked_up(tmp_path, flag):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / ("x" * 300), Path("/" + "y/" * 5000), tmp_path / "loop" / "a"):
        with pytest.raises(InputError, match=f"{flag} .* cannot be a file"):
            require_places({flag: path})
