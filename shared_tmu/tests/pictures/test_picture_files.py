"""Picture files of every kind: depths, damage beside the pixels, kinds that are not read, memory."""

import io
import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from shared_tmu.errors import InputError
from shared_tmu.pictures import opening
from shared_tmu.pictures.images import decode_image, read_image
from shared_tmu.pictures.kinds import kind_of

RAMP = np.linspace(0, 1, 30 * 40).reshape(30, 40)
COLOURS = np.stack([RAMP, RAMP / 2, 1 - RAMP], axis=2)


def tiff(values, **options):
    file = io.BytesIO()
    if values.ndim == 3 and values.shape[-1] in (3, 4):
        options = {"photometric": "rgb"} | options
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def numbers(kind, of, high=None, low=0):
    """A ramp from `low` to `high`, the largest that the type holds by default."""
    kind = np.dtype(kind)
    high = high or (1.0 if kind.kind == "f" else np.iinfo(kind).max)
    return np.minimum(of * (float(high) - low) + low, np.nextafter(float(high), 0)).astype(kind)


def is_ramp(read, of=RAMP, tolerance=2):
    """Whether a picture shows the ramp from black to white."""
    expected = 255 * (of[:, :, ::-1] if of.ndim == 3 else np.repeat(of[:, :, None], 3, 2))
    return bool(np.abs(read.bgr - expected).max() <= tolerance)


@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "u8", "f2", "f4", "f8", "i1"])
@pytest.mark.parametrize("of", [RAMP, COLOURS], ids=["grey", "colour"])
def test_every_sample_format_of_a_tiff_goes_from_black_to_white(kind, of):
    read = decode_image(tiff(numbers(kind, of)), "x")
    assert is_ramp(read, of, tolerance=3)
    assert "read as 8-bit" in read.note


@pytest.mark.parametrize(
    "options",
    [{"byteorder": ">"}, {"bigtiff": True}, {"planarconfig": "separate"}, {"compression": "zlib"},
     {"tile": (16, 16)}],
    ids=str,
)  # fmt: skip
def test_16_bit_colour_tiffs_however_they_are_stored(options):
    values = numbers("u2", COLOURS)
    values = np.moveaxis(values, 2, 0) if "planarconfig" in options else values
    assert is_ramp(decode_image(tiff(values, photometric="rgb", **options), "x"), COLOURS)


def test_white_may_be_zero_and_a_tag_may_say_what_white_is():
    for kind in ("u1", "u2"):
        read = decode_image(tiff(numbers(kind, 1 - RAMP), photometric="miniswhite"), "x")
        assert is_ramp(read, RAMP)
    dark = decode_image(tiff(numbers("u2", RAMP, 511), extratags=[(281, 3, 1, 1023, True)]), "x")
    assert is_ramp(dark, RAMP / 2)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_bits_in_16_are_not_dark_and_it_says_so(suffix, bits):
    of = RAMP if suffix != ".ppm" else COLOURS
    for ramp in (of, COLOURS):
        values = numbers("u2", ramp[..., ::-1] if ramp.ndim == 3 else ramp, 2**bits - 1)
        read = decode_image(cv2.imencode(suffix, values)[1].tobytes(), "x")
        assert is_ramp(read, ramp)
        assert f"{bits} of 16 bits" in read.note


def test_a_png_may_say_how_many_bits_count():
    plain = cv2.imencode(".png", numbers("u2", RAMP, 700))[1].tobytes()
    read = decode_image(with_chunk(plain, b"sBIT", bytes([12])), "x")
    assert is_ramp(read, RAMP * 700 / 4095)
    assert "12 of 16" in read.note


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0, 0.7, "0 to 1"), (0, 240, "0 to 255"), (-1, 1, "from -1"), (-0.02, 1, "negative"), (0, 5000, "5000")],
)
def test_floats_by_their_range(low, high, said):
    read = decode_image(tiff(numbers("f4", RAMP, high, low)), "x")
    assert said in read.note
    white = {0.7: 0.7, 240: 240 / 255}.get(high, 1)
    assert is_ramp(read, RAMP * white, tolerance=6)


def test_numbers_that_are_none():
    values = numbers("f4", RAMP)
    values[0, 0], values[1, 1] = np.nan, np.inf
    read = decode_image(tiff(values), "x")
    assert "2 numbers are NaN or infinite" in read.note
    assert (read.bgr[0, 0, 0], read.bgr[1, 1, 0]) == (0, 255)
    assert np.abs(read.bgr[2:, :, 0] - 255 * RAMP[2:]).max() <= 2
    with pytest.raises(InputError, match="all NaN"):
        decode_image(tiff(values * np.nan), "x")
    with pytest.raises(InputError, match="neither grey nor RGB"):
        decode_image(tiff(values.astype("c8")), "x")


@pytest.mark.parametrize("kind", ["LAB", "YCbCr", "CMYK", "1"])
def test_other_colours_of_a_tiff(kind):
    image = Image.fromarray(np.rint(255 * COLOURS).astype(np.uint8))
    if kind == "LAB":
        image = Image.new("LAB", (40, 30), (255, 128, 128))
        assert decode_image(saved(image, "TIFF"), "x").bgr.min() > 250
    else:
        read = decode_image(saved(image.convert(kind), "TIFF"), "x")
        assert abs(read.bgr.mean() - 255 * COLOURS.mean()) < 30


PLAIN = Image.fromarray(np.rint(255 * COLOURS).astype(np.uint8))


def exif():
    made = Image.Exif()
    made[0x0112], made[0x010E] = 6, "described" * 5
    return made.tobytes()


def with_chunk(png, kind, content, crc=None, length=None):
    sum_ = zlib.crc32(kind + content) if crc is None else crc
    size = len(content) if length is None else length
    return png[:33] + struct.pack(">I", size) + kind + content + struct.pack(">I", sum_) + png[33:]


def with_segment(jpeg, marker, content, length=None):
    size = len(content) + 2 if length is None else length
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", size) + content + jpeg[2:]


def damaged_pngs():
    png, told = saved(PLAIN, "PNG"), exif()[6:]
    yield with_chunk(png, b"eXIf", told, crc=1)
    yield with_chunk(png, b"eXIf", told[:20])
    yield with_chunk(png, b"eXIf", b"garbage")
    yield with_chunk(png, b"eXIf", told, length=len(told) + 7)
    yield with_chunk(png, b"eXIf", told, length=0x7FFFFFFF)
    yield with_chunk(png, b"pHYs", b"\0")
    yield with_chunk(png, b"gAMA", b"")
    yield with_chunk(png, b"iCCP", b"x\0\0no zlib", crc=5)
    yield with_chunk(png, b"iTXt", b"\xff\xff", crc=5)


def damaged_jpegs():
    jpeg = saved(PLAIN, "JPEG", quality=95, subsampling=0)
    for content in (b"Exif\0\0garbage", exif()[:30], b"Exif\0\0II*\0\xff\xff\xff\xff"):
        yield with_segment(jpeg, 0xE1, content)
    yield with_segment(jpeg, 0xE1, exif(), length=20)
    yield with_segment(jpeg, 0xE2, b"ICC_PROFILE\0\5")
    yield with_segment(jpeg, 0xEE, b"Adobe")


def damaged_webps():
    webp = saved(PLAIN, "WEBP", exif=exif(), lossless=True)
    at = webp.index(b"EXIF")
    yield webp[: at + 20]
    yield webp[: at + 4] + b"\xff\xff\0\0" + webp[at + 8 :]
    yield webp[: at + 8] + b"\xff" * (len(webp) - at - 8)


@pytest.mark.parametrize(
    "data", [*damaged_pngs(), *damaged_jpegs(), *damaged_webps()], ids=lambda data: data[:4].hex()
)
def test_damaged_metadata_is_ignored_and_said(data):
    read = decode_image(data, "x")
    assert "damaged" in read.note
    assert is_ramp(read, COLOURS, tolerance=12)


def with_tag(data, number, count, at):
    """A TIFF file whose first directory, moved to its end, has one entry more."""
    (old,) = struct.unpack("<I", data[4:8])
    (length,) = struct.unpack("<H", data[old : old + 2])
    entries = [data[old + 2 + 12 * i : old + 14 + 12 * i] for i in range(length)]
    entries = sorted([*entries, struct.pack("<HHII", number, 4, count, at)])
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory


@pytest.mark.parametrize("number", [700, 34665, 34675, 34853])
def test_a_tiff_with_damaged_metadata_is_read(number):
    for compression in ("raw", "tiff_lzw"):
        data = saved(PLAIN, "TIFF", compression=compression)
        assert is_ramp(decode_image(with_tag(data, number, 1, 0x7FFFFFF0), "x"), COLOURS)


def test_raw_files_are_no_small_pictures():
    data = saved(PLAIN, "TIFF")
    raws = {
        "a.tif": with_tag(data, 50706, 1, 4),
        "b.NEF": data,
        "c.tif": with_tag(with_tag(data, 254, 1, 1), 330, 1, 9),
    }
    for name, content in raws.items():
        with pytest.raises(InputError, match="raw file"):
            decode_image(content, name)


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"\xff\x0a" + bytes(9), "JPEG XL"), (b"8BPS\0\1", "PSD"), (b"%PDF-1.4", "PDF"),
     (b"%!PS-Adobe EPSF", "EPS"),
     (b'<?xml version="1.0"?>\n<svg>', "SVG"), (b"\xef\xbb\xbf<!DOCTYPE html>", "web page"),
     (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "--video"), (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
     (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"), (b"\0\0\0\x18ftypcrx \0\0\0\1", "raw file"),
     (b"II*\0\x10\0\0\0CR\2\0", "raw file"), (b"v/1\1", "OpenEXR")],
)  # fmt: skip
def test_what_is_not_read_is_called_by_its_name(head, kind):
    assert kind in kind_of(head)
    if kind != "AVIF":
        opening.formats.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "pillow_heif", None)
            with pytest.raises(InputError, match=kind):
                decode_image(head + bytes(50), "holiday.jpg")
        opening.formats.cache_clear()


def test_nothing_is_started_for_an_eps_file(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("a program was started"))
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("a program was started"))
    with pytest.raises(InputError, match=r"holiday\.jpg: it is a PostScript drawing"):
        decode_image(saved(PLAIN, "EPS"), "holiday.jpg")
    assert not {"EPS", "WMF", "PSD", "MIC", "FPX"} & set(opening.formats())


def test_heic_pictures_are_read_where_pillow_heif_is():
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    read = decode_image(saved(PLAIN.resize((120, 90)), "HEIF", quality=95), "photo.heic")
    assert read.size_px == (120, 90)
    assert abs(read.bgr.mean() - 255 * COLOURS.mean()) < 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "MPO", "TIFF"])
def test_of_several_pictures_the_first_is_used_and_it_says_so(kind):
    others = [Image.new("RGB", PLAIN.size, colour) for colour in ("red", "blue")]
    if kind == "TIFF":
        data = tiff(np.stack([np.asarray(image) for image in (PLAIN, *others)]), photometric="rgb")
    else:
        data = saved(PLAIN, kind, save_all=True, append_images=others)
    read = decode_image(data, "x")
    assert "several pictures, and the first" in read.note
    assert is_ramp(read, COLOURS, tolerance=80)


def png_header(width, height):
    """A PNG file that says it is so large; there is no picture in it."""
    content = struct.pack(">II", width, height) + b"\x08\x02\0\0\0"
    header = struct.pack(">I", 13) + b"IHDR" + content + struct.pack(">I", zlib.crc32(b"IHDR" + content))
    return b"\x89PNG\r\n\x1a\n" + header + saved(PLAIN, "PNG")[33:]


def test_too_large_pictures_are_refused_before_decoding():
    limit = Image.MAX_IMAGE_PIXELS
    for size, said in {
        (20_000, 20_000): r"20000 x 20000 pixels are 400 megapixels, more than the limit of 10\d for",
        (70_000, 10): "the limit is 65535 per side",
        (2**31 - 1, 2**31 - 1): "megapixels, more",
        (40_000, 10): "truncated or damaged",  # neither too many pixels nor too long
    }.items():
        with pytest.raises(InputError, match=said):
            decode_image(png_header(*size), "x")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_links_pipes_and_folders(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    for name, said in {
        "pipe": "not a regular",
        "loop": "symbolic links",
        "dangling": "nowhere.jpg, which does not exist",
    }.items():
        with pytest.raises(InputError, match=said):
            read_image(tmp_path / f"{name}.jpg")
