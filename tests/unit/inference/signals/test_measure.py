"""Signals against frames whose motion, blur, noise, bars, cuts and brightness are known by construction."""

from __future__ import annotations

from math import isnan

import cv2
import numpy as np
import pytest

from inference.signals import NAMES, measure
from inference.signals.layout import Bars, find_bars
from inference.types import Frames, PacketFacts
from tests.unit.inference.signals.synthetic import COUNT, FPS, HEIGHT, WIDTH, moving, noisy, signals, still, texture


@pytest.mark.parametrize("pixels_per_frame", [0.5, 1.0, 3.0])
def test_a_pan_is_measured_within_3_percent(pixels_per_frame: float) -> None:
    found = signals(moving(pixels_per_frame))
    expected = pixels_per_frame * FPS / WIDTH
    assert found["camera_pan"] == pytest.approx(expected, rel=0.03)
    assert found["camera_speed"] == pytest.approx(expected, rel=0.03)
    assert found["stillest_quarter_speed"] == pytest.approx(expected, rel=0.05)
    assert found["camera_roll"] < 0.5
    assert found["camera_zoom"] < 0.01
    assert found["camera_shake"] < 0.02
    assert found["object_points_share"] < 0.1


@pytest.mark.parametrize("degrees_per_frame", [0.1, 0.4])
def test_a_roll_is_measured_within_5_percent(degrees_per_frame: float) -> None:
    found = signals(moving(0, degrees_per_frame=degrees_per_frame))
    assert found["camera_roll"] == pytest.approx(degrees_per_frame * FPS, rel=0.05)
    assert found["camera_pan"] < 0.01


@pytest.mark.parametrize("scale_per_frame", [1.002, 1.006])
def test_a_zoom_is_measured_within_5_percent(scale_per_frame: float) -> None:
    found = signals(moving(0, scale_per_frame=scale_per_frame))
    assert found["camera_zoom"] == pytest.approx(np.log(scale_per_frame) * FPS, rel=0.05)


def test_shake_grows_with_its_amplitude_while_the_pan_stays() -> None:
    picture, random = texture(), np.random.default_rng(3)
    offsets = random.normal(0, 1, (COUNT, 2))

    def shaken(amplitude: float) -> float:
        places = np.rint(offsets * amplitude + 200).astype(int)
        return signals(np.stack([picture[y : y + HEIGHT, x : x + WIDTH] for x, y in places]))["camera_shake"]

    values = [shaken(amplitude) for amplitude in (0.0, 2.0, 5.0, 10.0)]
    assert values == sorted(values)
    assert values[0] < 0.005
    assert values[-1] > 0.1


def test_a_still_camera_with_grain_stands_still_and_is_not_frozen() -> None:
    found = signals(noisy(still(), 4))
    assert found["still_points_share"] > 0.9
    assert found["camera_speed"] < 0.012
    assert found["frozen_share"] == 0


def test_an_object_that_moves_before_a_still_background_is_no_camera_motion() -> None:
    frames, ball = still(), texture(seed=9)[:60, :60]
    for number, frame in enumerate(frames):
        frame[60:120, 20 + 3 * number : 80 + 3 * number] = ball
    found = signals(frames)
    assert found["camera_speed"] < 0.02
    assert 0 < found["object_points_share"] < 0.4


def test_an_object_that_fills_three_quarters_of_the_picture_leaves_the_fourth_still() -> None:
    frames, face = noisy(still(), 2), texture(seed=9)
    for number, frame in enumerate(frames):
        frame[:, : WIDTH // 2 - 10] = face[3 * number : 3 * number + HEIGHT, : WIDTH // 2 - 10]
        frame[: HEIGHT // 2 - 10] = face[3 * number : 3 * number + HEIGHT // 2 - 10, :WIDTH]
    found = signals(frames)
    assert found["camera_speed"] > 0.1  # most points follow the object
    assert found["stillest_quarter_speed"] < 0.012


def test_an_object_before_a_blank_wall_leaves_the_camera_unmeasured() -> None:
    frames, ball = np.full((COUNT, HEIGHT, WIDTH, 3), 200, np.uint8), texture(seed=9)[:60, :60]
    for number, frame in enumerate(frames):
        frame[60:120, 20 + 3 * number : 80 + 3 * number] = ball
    found = signals(frames)
    assert found["tracked_coverage"] < 0.25
    assert all(isnan(found[name]) for name in ("camera_speed", "camera_pan", "still_points_share", "overlay_share"))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_the_frozen_share_is_the_part_of_the_time_that_one_picture_stays(share: float) -> None:
    frames = moving(2)
    frames[COUNT - round(share * COUNT) :] = frames[-1]
    assert signals(frames)["frozen_share"] == pytest.approx(share, abs=0.15)


@pytest.mark.parametrize("cut_frames", [(), (30,), (20, 40)])
def test_cuts_are_counted_and_a_pan_is_none(cut_frames: tuple[int, ...]) -> None:
    shots = [moving(2), 255 - moving(1, seed=4) // 2, np.flip(moving(3, seed=5), axis=3)]
    shot_of = np.searchsorted(cut_frames, np.arange(COUNT), side="right")
    frames = np.stack([shots[shot][number] for number, shot in enumerate(shot_of)])
    assert signals(frames)["cuts_per_minute"] == pytest.approx(len(cut_frames) * 60 / (COUNT / FPS), rel=0.15)


@pytest.mark.parametrize("repeats", [1, 2, 4])
def test_frames_shown_several_times_are_duplicates(repeats: int) -> None:
    frames = np.repeat(moving(3)[: COUNT // repeats], repeats, axis=0)
    assert signals(frames)["duplicate_share"] == pytest.approx(1 - 1 / repeats, abs=0.2)  # one of five pairs


@pytest.mark.parametrize("amplitude", [0.0, 0.02, 0.06])
def test_flicker_is_the_amplitude_as_a_share_of_the_brightness(amplitude: float) -> None:
    factors = 1 + amplitude * np.where(np.arange(COUNT) % 2, 1, -1)
    frames = np.clip(moving(0.5) * factors[:, None, None, None], 0, 255).astype(np.uint8)
    assert signals(frames)["flicker"] == pytest.approx(amplitude, abs=0.004)


def test_a_fade_is_no_flicker() -> None:
    factors = np.linspace(1, 0.2, COUNT)
    frames = (moving(0.5) * factors[:, None, None, None]).astype(np.uint8)
    assert signals(frames)["flicker"] < 0.004


def test_blur_grows_and_sharpness_falls_with_the_radius_of_the_blur() -> None:
    frames = noisy(moving(0)[::12], 12)
    found = [
        signals(np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]), fps=2)
        for sigma in (0.3, 1.0, 2.0, 4.0)
    ]
    blurs, sharpnesses = [one["blur"] for one in found], [one["sharpness"] for one in found]
    assert blurs == sorted(blurs)
    assert sharpnesses == sorted(sharpnesses, reverse=True)
    assert blurs[-1] - blurs[0] > 0.3


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0])
def test_noise_is_its_standard_deviation_within_15_percent(sigma: float) -> None:
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in still()[::12]])
    luma_sigma = sigma * np.sqrt(0.299**2 + 0.587**2 + 0.114**2)  # of noise that is another in each channel
    assert signals(noisy(smooth, sigma), fps=2)["noise"] == pytest.approx(luma_sigma, rel=0.15)


@pytest.mark.parametrize("phase", [0, 3, 7])
def test_blockiness_grows_as_jpeg_is_crushed_wherever_the_grid_lies(phase: int) -> None:
    picture = texture()[100 : 100 + HEIGHT + 8, 100 : 100 + WIDTH + 8]

    def crushed(quality: int) -> float:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        cut = cv2.imdecode(coded, cv2.IMREAD_COLOR)[phase : phase + HEIGHT, phase : phase + WIDTH]
        return signals(cut[None], fps=1)["blockiness"]

    values = [crushed(quality) for quality in (95, 20, 8, 3)]
    assert values == sorted(values)
    assert values[0] < 1.2
    assert values[-1] > 1.5


def test_fields_of_different_moments_form_combs() -> None:
    frames = moving(6)
    woven = frames[::2].copy()
    woven[:, 1::2] = frames[1::2, 1::2]
    assert signals(frames[::2])["combing"] < 0.9
    assert signals(woven)["combing"] > 1.24


@pytest.mark.parametrize(("top", "left"), [(0, 0), (20, 0), (0, 40), (16, 30)])
@pytest.mark.parametrize("colour", [0, 255, 90])
def test_bars_are_found_within_a_pixel_of_the_overview_whatever_their_colour(top: int, left: int, colour: int) -> None:
    frames = moving(2)
    frames[:, :top] = frames[:, HEIGHT - top :] = colour
    frames[:, :, :left] = frames[:, :, WIDTH - left :] = colour
    found = signals(frames)["bars_share"]
    assert found == pytest.approx(1 - (WIDTH - 2 * left) * (HEIGHT - 2 * top) / (WIDTH * HEIGHT), abs=0.04)
    assert find_bars(noisy(frames[::6], 1)) == Bars(left, top, left, top)


def test_a_dark_scene_and_a_plain_sky_are_no_bars() -> None:
    dark = (moving(2) * np.linspace(0, 1, HEIGHT)[:, None, None] ** 2).astype(np.uint8)
    sky = moving(2)
    skyline = 60 + (10 * np.sin(np.arange(WIDTH) / 15)).astype(int)
    sky[:, np.arange(HEIGHT)[:, None] < skyline] = (130, 170, 220)
    assert signals(dark)["bars_share"] == 0
    assert find_bars(sky[::6]).top in {0, *range(45, 60)}  # up to the lowest point of the skyline at most


def test_signals_are_measured_between_the_bars() -> None:
    frames = moving(2)
    barred = frames.copy()
    barred[:, :40] = barred[:, HEIGHT - 40 :] = 0
    inside = signals(frames[:, 40 : HEIGHT - 40])
    found = signals(barred)
    assert found["luma"] == pytest.approx(inside["luma"], abs=0.02)
    assert found["dark_share"] < 0.01
    assert found["blur"] == pytest.approx(inside["blur"], abs=0.03)


def test_an_overlay_is_found_while_the_picture_moves_and_unmeasured_while_it_stands() -> None:
    def with_logo(frames: Frames) -> Frames:
        frames = frames.copy()
        drawn = texture(seed=5)[:30, :60]
        frames[:, 10:40, 240:300] = np.where(drawn > 128, 255, 0)
        return frames

    assert signals(moving(2))["overlay_share"] < 0.005
    assert 0.01 < signals(with_logo(moving(2)))["overlay_share"] < 0.08
    assert isnan(signals(with_logo(still()))["overlay_share"])


def test_exposure_and_colour_follow_the_picture() -> None:
    frames = moving(1)
    found, dark = signals(frames), signals((frames * 0.1).astype(np.uint8))
    grey = np.repeat(frames.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
    assert dark["luma"] == pytest.approx(0.1 * found["luma"], abs=0.01)
    assert dark["contrast"] == pytest.approx(0.1 * found["contrast"], abs=0.02)
    assert signals(grey)["saturation"] < 0.01 < found["saturation"]
    assert signals(np.full_like(frames, 250))["bright_share"] == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_black_and_single_colour_frames_are_counted(share: float) -> None:
    frames, count = moving(1), round(share * COUNT)
    frames[:count] = 10
    black = signals(frames)
    frames[:count] = (200, 30, 30)
    red = signals(frames)
    assert black["black_share"] == pytest.approx(share, abs=0.1)
    assert red["plain_share"] == pytest.approx(share, abs=0.1)
    assert red["black_share"] == 0


def test_bits_per_pixel_are_those_of_the_packets() -> None:
    frames = moving(1)
    packets = PacketFacts((5000, 10000, 2000), (25, 25, 10), WIDTH * HEIGHT)
    found = measure(frames, np.arange(COUNT) / FPS, packets)
    assert found["bits_per_pixel"] == pytest.approx(8 * 17000 / (COUNT * WIDTH * HEIGHT))


def test_the_vector_has_every_name_in_order_and_one_frame_leaves_what_needs_more_unmeasured() -> None:
    found = signals(moving(1)[:1])
    assert tuple(found) == NAMES
    unmeasured = {name for name, value in found.items() if isnan(value)}
    assert {"camera_speed", "frozen_share", "flicker", "duplicate_share", "bits_per_pixel"} <= unmeasured
    assert not {"luma", "blur", "noise", "bars_share"} & unmeasured
