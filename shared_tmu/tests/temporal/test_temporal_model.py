"""Sizes of the decoder, its single call, and clips of any length."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from shared_tmu.errors import ConfigError
from shared_tmu.temporal.config import PRESETS, TemporalConfig
from shared_tmu.temporal.denoiser import LatentDenoiser
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.vae import MotionVAE
from shared_tmu.temporal.windows import blur, in_windows, resample, starts_of

TINY = TemporalConfig("hand", 9, 3, 16, 16, 2, 3, 3, condition=12)


def numbers(module):
    return sum(p.numel() for p in module.parameters())


def test_the_paper_s_sizes_build_and_count_as_printed():
    config = PRESETS["table12"]
    with torch.device("meta"):
        denoiser, vae = LatentDenoiser(config), MotionVAE(config)
    positions = (denoiser.places, vae.decoder_places, vae.latent_places)
    decoder = numbers(vae.decoder) + numbers(vae.unembed)
    total = numbers(denoiser) + decoder - denoiser.places.numel()
    assert total == pytest.approx(29.5e6, rel=0.02)
    assert {tuple(p.shape) for p in positions} == {(271, 512), (243, 512), (27, 512)}
    with torch.device("meta"):
        whole = MotionVAE(PRESETS["paper"])
    assert len(whole.encoder.blocks) == len(whole.decoder.blocks) == 9


def test_the_thin_preset_is_small_in_half_precision():
    model = MotionDecoder(PRESETS["thin"])
    assert 2 * numbers(model) < 10e6


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_paper_s_ratios(name):
    config = PRESETS[name]
    assert config.frames * config.tree.width / (config.latents * config.dim) == pytest.approx(2.3, abs=0.2)


@pytest.mark.parametrize("anchor", [False, True])
def test_one_call_of_the_denoiser_gives_minus_the_velocity(anchor, monkeypatch):
    config = replace(TINY, condition=93 + 12, anchor=anchor)
    model = MotionDecoder(config).eval()
    calls = []
    inner = model.denoiser.forward
    monkeypatch.setattr(model.denoiser, "forward", lambda *given: calls.append(given) or inner(*given))
    condition = torch.randn(2, 9, config.condition)
    found = model.sample(condition, torch.Generator().manual_seed(0))
    assert len(calls) == 1
    noisy, time, _ = calls[0]
    assert time.tolist() == [999, 999]
    velocity = model.velocity(noisy, time, condition)
    torch.testing.assert_close(found, model.motion_of(-velocity))


def test_a_linear_path_starts_without_loss_of_slow_motion():
    config = replace(TINY, frames=20, latents=5, dim=96, heads=4, low_pass=True)
    model = MotionDecoder(config).eval()
    times = torch.linspace(-1, 1, 20)[None, :, None]
    motion = torch.randn(3, 1, 93) * times**3 + torch.randn(3, 1, 93) * times + torch.randn(3, 1, 93)
    torch.testing.assert_close(model.motion_of(model.latents_of(motion)), motion, atol=1e-4, rtol=0)


def test_an_anchor_starts_as_the_motion_that_the_head_sees():
    config = replace(TINY, frames=20, latents=5, dim=96, heads=4, low_pass=True, condition=100, anchor=True)
    model = MotionDecoder(config).eval()
    condition = torch.zeros(2, 20, 100)
    condition[..., 7:] = torch.randn(2, 1, 93)
    torch.testing.assert_close(model.sample(condition), condition[..., 7:], atol=1e-4, rtol=0)


def test_a_blurred_anchor_starts_as_a_filter_without_delay():
    sizes = {"frames": 20, "latents": 20, "dim": 96, "heads": 4, "low_pass": True, "condition": 93}
    model = MotionDecoder(replace(TINY, **sizes, anchor=True, anchor_blur=1.5)).eval()
    motion = torch.randn(2, 20, 93)
    found = model.sample(motion)
    torch.testing.assert_close(found, blur(motion, 1.5), atol=1e-3, rtol=0)
    assert found.diff(dim=1).square().mean() < 0.1 * motion.diff(dim=1).square().mean()


def test_a_blur_keeps_lines_inside_and_does_nothing_at_zero():
    line = torch.linspace(0, 1, 41)[:, None].expand(-1, 3)
    torch.testing.assert_close(blur(line, 2.0)[8:-8], line[8:-8])
    assert blur(line, 0.0) is line
    several = torch.randn(2, 4, 30, 3)
    torch.testing.assert_close(blur(several, 1.3)[1, 2], blur(several[1, 2], 1.3))
    torch.testing.assert_close(blur(torch.ones(1, 3), 5.0), torch.ones(1, 3))


def test_several_draws_are_averaged(monkeypatch):
    condition = torch.randn(2, 9, TINY.condition)
    one, three = MotionDecoder(TINY).eval(), MotionDecoder(replace(TINY, draws=3)).eval()
    three.load_state_dict(one.state_dict())
    for model in (one, three):
        monkeypatch.setattr(model, "motion_of", lambda latents: latents)
    chance = torch.Generator().manual_seed(5)
    apart = torch.stack([one.sample(condition, chance) for _ in range(3)])
    assert apart.std(0).mean() > 1e-4
    torch.testing.assert_close(three.sample(condition, torch.Generator().manual_seed(5)), apart.mean(0))


@pytest.mark.parametrize("length", [1, 2, 100, 243, 244, 245, 405, 700])
def test_any_length_comes_back(length):
    seen = []

    def decode(windows):
        seen.append(windows.shape)
        return torch.cat((windows, windows), dim=-1)

    frames = torch.linspace(0, 1, length)[:, None].expand(-1, 2)
    found = in_windows(decode, frames, 243)
    assert found.shape == (length, 4)
    assert len(seen) == 1
    torch.testing.assert_close(found[:, :2], frames, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, 2:], frames, atol=1e-5, rtol=0)


def test_windows_fade_into_each_other():
    starts = starts_of(700, 243)
    assert starts[0] == 0
    assert starts[-1] == 700 - 243
    assert max(b - a for a, b in pairwise(starts)) <= 243 - 243 // 3
    shift = torch.arange(len(starts), dtype=torch.float32)[:, None, None]
    found = in_windows(lambda windows: windows[..., :1] * 0 + shift, torch.zeros(700, 2), 243)
    assert found.diff(dim=0).abs().max() < 0.03  # no step where windows change


def test_resampling_keeps_both_ends():
    frames = torch.randn(7, 3)
    longer = resample(frames, 20)
    torch.testing.assert_close(longer[[0, -1]], frames[[0, -1]])
    torch.testing.assert_close(resample(longer[::1], 20), longer)
    torch.testing.assert_close(
        resample(torch.linspace(0, 1, 5)[:, None], 9), torch.linspace(0, 1, 9)[:, None]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"skeleton": "dog"}, "skeleton='dog' does not exist"),
        ({"frames": 0}, "frames=0"),
        ({"dim": 1.5}, "dim=1.5"),
        ({"low_pass": True}, "dim must be at least 93"),
        ({"anchor": True}, "condition of at least 93"),
        ({"anchor_blur": 2.0}, "needs anchor=true"),
        ({"anchor": True, "condition": 93, "anchor_blur": "much"}, "anchor_blur='much'"),
        ({"anchor": True, "condition": 93, "anchor_blur": -1}, "from 0 to"),
        ({"anchor": True, "condition": 93, "anchor_blur": True}, "anchor_blur=True"),
        ({"anchor": "no", "condition": 93}, "anchor='no' was asked for; it must be true or false"),
        ({"draws": 0}, "draws=0"),
        ({"depth": 3}, "depth is no size"),
    ],
)
def test_wrong_sizes_are_named(change, said):
    with pytest.raises(ConfigError, match=said):
        TemporalConfig.read({**TINY.as_dict(), **change})


@pytest.mark.parametrize("change", [{"denoiser_layers": 4}, {"heads": 3}])
def test_layers_must_be_odd_and_heads_divide_the_width(change):
    with pytest.raises(ConfigError, match="must be odd, and the heads must divide"):
        LatentDenoiser(replace(TINY, **change))
