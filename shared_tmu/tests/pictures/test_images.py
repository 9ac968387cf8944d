"""Reading pictures of every kind a user may have, and saying what is wrong with the rest."""

import io
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from shared_tmu.errors import InputError
from shared_tmu.pictures.images import decode_image, read_image


def picture(width=40, height=30):
    """A smooth colour picture, RGB."""
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def saved(array, suffix, mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, suffix, **options)
    return file.getvalue()


def test_a_jpeg_is_read_as_opencv_reads_it(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(picture(), "JPEG"))
    read = read_image(path)
    assert read.note == ""
    assert read.size_px == (40, 30)
    assert np.array_equal(read.bgr, cv2.imread(str(path)))


@pytest.mark.parametrize(
    ("suffix", "mode", "note"),
    [("PNG", "RGBA", "transparency"), ("PNG", "L", "grey"), ("PNG", "LA", "grey"), ("PNG", "P", "palette"),
     ("PNG", "1", "black"), ("JPEG", "L", "grey"), ("JPEG", "CMYK", "CMYK"), ("TIFF", "CMYK", "CMYK"),
     ("WEBP", "RGB", ""), ("BMP", "RGB", ""), ("GIF", "P", "palette")],
)  # fmt: skip
def test_every_mode_becomes_8_bit_colour(suffix, mode, note):
    read = decode_image(saved(picture(), suffix, mode), "x")
    assert read.bgr.shape == (30, 40, 3)
    assert read.bgr.dtype == np.uint8
    assert note in read.note
    assert bool(note) == bool(read.note)
    if mode in ("RGBA", "CMYK", "RGB", "P"):
        assert np.abs(read.bgr[:, :, ::-1].astype(int) - picture()).mean() < 25


def test_16_bit_keeps_the_high_byte():
    grey = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 50
    read = decode_image(cv2.imencode(".png", grey)[1].tobytes(), "x")
    assert "16-bit" in read.note
    assert np.array_equal(read.bgr, np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, 2))
    colour = picture()[:, :, ::-1].astype(np.uint16) * 257
    for suffix in (".png", ".tiff"):
        read = decode_image(cv2.imencode(suffix, colour)[1].tobytes(), "x")
        assert np.abs(read.bgr.astype(int) - picture()[:, :, ::-1]).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = decode_image(saved(picture(), "JPEG", exif=exif, quality=95), "x").bgr[:, :, ::-1].astype(int)
    upright = picture()
    upright = upright[:, ::-1] if orientation in (2, 5, 7, 4) else upright
    upright = np.rot90(upright, {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation])
    assert read.shape == upright.shape
    assert np.abs(read - upright).mean() < 4


def test_one_pixel():
    assert decode_image(saved(picture(1, 1), "PNG"), "x").size_px == (1, 1)


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_truncated_files_say_so(suffix):
    data = saved(picture(400, 300), suffix)
    with pytest.raises(InputError, match=r"cannot read photo\.x"):
        decode_image(data[: len(data) // 2], "photo.x")


@pytest.mark.parametrize("data", [b"", b"hello, I am a text", b"\xff\xd8\xff", b"II*\0garbage", bytes(1000)])
def test_what_is_no_image_says_so_in_one_line(data):
    with pytest.raises(InputError) as caught:
        decode_image(data, "notes.jpg")
    assert "notes.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    if not data:
        assert "empty" in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(InputError, match="folder"):
        read_image(tmp_path)


def test_100_megapixels_are_read():
    data = saved(np.zeros((10_000, 10_000), bool), "PNG")  # beyond where Pillow warns by itself
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data, "x").size_px == (10_000, 10_000)


def test_colours_of_a_ycbcr_tiff_do_not_depend_on_pillow():
    buffer = io.BytesIO()
    Image.new("YCbCr", (40, 30), (100, 90, 80)).save(buffer, "TIFF")
    read = decode_image(buffer.getvalue(), "x")
    assert read.note == ""  # eight bits are not worth a word
    assert np.abs(read.bgr.astype(int) - (33, 147, 33)).max() <= 1
