"""The recipe music: carriers, conditions, losses, two phases in one run, and what key and tempo are heard."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from handlers.audio.windows import Plan
from tests.support.music import CONFIG, model
from training import checkpoint, evaluate_music, music, music_hearing
from training.checks import ConfigError
from training.data import melodies
from training.data.synthesizer import render
from training.models.music import (
    BASIS,
    CONTEXT,
    HIGHEST_TONIC,
    HOP,
    STRIDE,
    Decoder,
    Encoder,
    ModelConfig,
    frequencies,
    turns_at,
)
from training.models.music_components import begin_with
from training.models.music_gan import (
    LEVELS,
    PERIODS,
    PHRASE,
    REACH,
    UNITS,
    Critic,
    Ears,
    Generator,
    Reader,
    held,
    places,
    waves,
)
from training.run import Run, Schedule

TINY = music.PRESETS["tiny"]


def one_carrier(decoder: Decoder, row: int) -> None:
    """Weights with which the decoder plays one semitone at a strength of 0.5, whatever the latents are."""
    last = decoder.layers[-1]
    assert isinstance(last, torch.nn.Conv1d) and last.bias is not None
    assert decoder.straight.bias is not None
    with torch.no_grad():
        for zero in (last.weight, last.bias, decoder.straight.weight, decoder.straight.bias):
            zero.zero_()
        last.bias[: decoder.relative] = -5.0
        last.bias[row] = 1.0 + math.log(math.expm1(0.5)) / math.log(1000.0)


def test_carriers_are_semitones_to_an_eighth_of_a_hertz() -> None:
    found = frequencies(76)
    assert found[0] == 55.0
    assert found[36] == 440.0
    assert all(hertz * 8 == int(hertz * 8) for hertz in found)
    assert max(abs(1200 * math.log2(hertz / (55.0 * 2 ** (p / 12)))) for p, hertz in enumerate(found)) < 2.0  # cents


@pytest.mark.parametrize(("begin", "key"), [(0, 0), (12_345 * HOP, 0), (0, 2), (0, 3)])
def test_a_carrier_goes_on_as_one_sine_from_the_beginning_of_a_piece_and_as_high_as_the_key(
    begin: int, key: int
) -> None:
    decoder, row = Decoder(CONFIG), 27 + CONFIG.tonics[key]
    one_carrier(decoder, 27 + HIGHEST_TONIC)
    told = torch.tensor([key]), turns_at(torch.tensor([begin]), CONFIG)
    with torch.inference_mode():
        audio = decoder(torch.zeros(1, CONFIG.latent, 20), *told)[0].double()
    assert audio.shape == ((20 - 2 * CONTEXT) * HOP,)
    at = torch.arange(len(audio), dtype=torch.float64) + begin + CONTEXT * HOP
    wanted = torch.tanh(0.5 * torch.cos(2 * math.pi * frequencies(40)[row] * at / CONFIG.rate))
    torch.testing.assert_close(audio, wanted, atol=2e-3, rtol=0)
    assert BASIS == 4 * STRIDE


def test_the_encoder_sees_a_sine_as_its_semitone_above_the_tonic_and_no_phase() -> None:
    encoder, keys = Encoder(CONFIG), torch.tensor([0, 0, 3])
    at = torch.arange(16 * HOP) / CONFIG.rate
    tones = torch.stack([0.5 * torch.sin(2 * math.pi * frequencies(40)[27] * at + phase) for phase in (0.0, 1.0, 0.0)])
    seen = encoder.see(tones, keys)[:, :, 20:-20]
    row = 27 + HIGHEST_TONIC
    assert seen.mean(dim=2).argmax(dim=1).tolist() == [row, row, row + 3]  # the tonic of A minor is 3 lower than C
    assert float(seen[:2, row].mean()) == pytest.approx(1 + math.log(0.501) / -math.log(1e-3), abs=0.01)
    torch.testing.assert_close(seen[0, row], seen[1, row], atol=0.01, rtol=0)
    torch.testing.assert_close(seen[2, 3:], seen[0, :-3])
    assert encoder(tones, keys).shape == (3, CONFIG.latent, 16)


def test_what_is_seen_of_a_low_tone_is_that_tone_and_not_its_neighbours() -> None:
    encoder, at = Encoder(CONFIG), torch.arange(16 * HOP) / CONFIG.rate
    low = 0.5 * torch.sin(2 * math.pi * frequencies(40)[12] * at)  # 110 Hz: its neighbours are 7 Hz away
    seen = encoder.see(low[None], torch.tensor([0]))[0, :, 20:-20].mean(dim=1)
    row = 12 + HIGHEST_TONIC
    assert float(seen[row]) == pytest.approx(1 + math.log(0.501) / -math.log(1e-3), abs=0.05)
    assert float(seen[[row - 2, row + 2]].max()) < float(seen[row]) - 0.2


def test_an_autoencoder_begins_with_the_closest_levels_and_latents_as_strong_as_heard() -> None:
    config = dataclasses.replace(CONFIG, latent=6)
    encoder, decoder, random = Encoder(config).eval(), Decoder(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layers in (encoder.layers, decoder.layers):
            for parameter in layers.parameters():
                parameter.zero_()
    at = torch.arange(8 * HOP) / config.rate
    tones = torch.stack([torch.sin(2 * math.pi * frequencies(40)[row] * at) for row in (20, 27, 30)])
    strengths = torch.rand(12, 3, generator=random)
    pieces, key = strengths @ tones / 4, torch.zeros(12, dtype=torch.int64)
    begin_with(encoder, decoder, pieces, key)
    with torch.inference_mode():
        latents = encoder(pieces, key)
        levels = torch.nn.functional.avg_pool1d(encoder.see(pieces, key), 4)
        back = decoder.straight(latents)[:, : config.relative, 4::8]
    deviations = latents.transpose(1, 2).flatten(0, 1).std(dim=0)
    torch.testing.assert_close(deviations, encoder.scale[:, 0], atol=0.05, rtol=0.1)
    assert float(deviations.max() / deviations.min()) > 2.0
    error = float((back - levels)[:, :, 1:-1].square().mean())
    assert error < 0.05 * float((levels - levels.mean(dim=(0, 2), keepdim=True)).square().mean())


def test_noise_and_places_are_those_of_serving() -> None:
    """Training and handlers may not import one another, so each has its own; here they are held together."""
    division = Plan(HOP, 32, CONTEXT, REACH, 2, (440,), 16_000, CONFIG.rate)
    numbers = division.numbers(11, 133.0, 5 * division.samples)
    noise, beats, _ = division.inputs(numbers, 133.0, 3)
    first = torch.tensor([3 * 32 - CONTEXT - REACH])
    ours = places(torch.tensor([133.0]), first, division.read_frames, CONFIG.rate) + PHRASE
    np.testing.assert_allclose((ours % PHRASE)[0].float().numpy(), beats, atol=1e-5)
    np.testing.assert_array_equal(held(torch.from_numpy(numbers)[None], ours)[0].numpy(), noise)
    assert sum(round(PHRASE / level) for level in LEVELS) == UNITS


def test_noise_stays_the_same_for_a_phrase_a_chord_a_beat_and_a_half() -> None:
    beats = torch.arange(0, 16, 0.25)[None] + 0.01
    noise = held(torch.randn(1, 2, UNITS, 1), beats)[0]
    changes = [int((row.diff() != 0).sum()) for row in noise]
    assert changes == [1, 7, 15, 31]


def test_waves_have_their_periods() -> None:
    beats = torch.arange(0, 8, 1 / 16)[None]
    found = waves(beats)[0]
    assert found.shape == (2 * len(PERIODS), 128)
    assert found.abs().max() == pytest.approx(1.0)
    for row, period in enumerate(PERIODS):
        steps = round(period * 16)
        torch.testing.assert_close(found[2 * row], found[2 * row].roll(steps))
        torch.testing.assert_close(found[2 * row], -found[2 * row].roll(steps // 2))
        torch.testing.assert_close(found[2 * row + 1], found[2 * row].roll(-steps // 4))


def test_shapes_of_the_gan() -> None:
    frames, keys = 60, torch.tensor([0, 3])
    told = torch.rand(2, frames + 2 * REACH) * 8
    noise = torch.randn(2, 4 * CONFIG.noise, frames + 2 * REACH)
    latents = Generator(CONFIG)(noise, keys, told)
    assert latents.shape == (2, CONFIG.latent, frames)
    assert Critic(CONFIG)(latents, keys, told[:, REACH:-REACH]).shape[0] == 2


def test_the_reader_finds_one_normal_for_each_unit_and_counts_what_it_tells() -> None:
    """With weights of zero it tells nothing, and noise is what is drawn; a mean of its own costs its square."""
    reader, beats = Reader(CONFIG), torch.arange(0, 12, 0.25)[None].expand(2, -1) + 0.01
    normals = torch.randn(2, 2, UNITS, CONFIG.noise, generator=torch.Generator().manual_seed(0))
    latents, keys = torch.randn(2, CONFIG.latent, 48), torch.tensor([0, 3])
    noise, more = reader(latents, keys, beats, normals)
    assert noise.shape == (2, 4 * CONFIG.noise, 48)
    changes = (noise[0].diff(dim=1) != 0).sum(dim=1).reshape(4, CONFIG.noise)
    assert changes.tolist() == [[1] * CONFIG.noise, [5] * CONFIG.noise, [11] * CONFIG.noise, [23] * CONFIG.noise]
    assert float(more.detach()) > 0
    last = reader.layers[-1]
    assert isinstance(last, torch.nn.Conv1d) and last.bias is not None
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
    noise, more = reader(latents, keys, beats, normals)
    torch.testing.assert_close(noise, held(normals, beats))
    assert float(more.detach()) == 0.0
    with torch.no_grad():
        last.bias[0] = 2.0  # the mean of a number of every phrase, of which there are two
    assert float(reader(latents, keys, beats, normals)[1].detach()) == pytest.approx(2 * 0.5 * 2.0**2 / 48)


def test_tonics_are_those_of_the_keys_and_classes_that_are_none_have_none() -> None:
    world = melodies.music_set(16_000, 0.1, 1)
    assert world.tonics == (0, 1, 2, 3, 4, 5, 6, -5, -4, -3, -2, -1)
    assert dataclasses.replace(world, classes=("Am", "F#", "G")).tonics == (-3, 6, -5)
    assert dataclasses.replace(world, classes=("A", "piano")).tonics == (0, 0)


def test_ears_turn_a_profile_to_all_tonics_and_hear_no_octave() -> None:
    ears = Ears(CONFIG)
    with torch.no_grad():
        ears.profiles[0, [0, 4, 7]] = 1.0
        ears.profiles[3, [0, 3, 7]] = 1.0  # a key in minor
    levels = torch.zeros(4, CONFIG.relative, 5)
    tonic = HIGHEST_TONIC + 3  # of the row of a C: the first carrier is an A
    for row, (lowest, third) in enumerate(((tonic, 4), (tonic + 12, 4), (tonic + 2, 4), (tonic, 3))):
        levels[row, [lowest, lowest + third, lowest + 7]] = 0.8
    heard = ears(levels, torch.tensor([0, 0, 0, 3])).argmax(dim=1)
    assert heard.tolist() == [0, 0, 2, 0]


def test_a_piece_is_composed_of_noise_nearer_to_its_mean() -> None:
    music, frames = model(dataclasses.replace(CONFIG, truncation=0.5)), 40
    noise = torch.randn(1, 4 * CONFIG.noise, frames + 2 * REACH, generator=torch.Generator().manual_seed(0))
    told = torch.tensor([1]), torch.rand(1, frames + 2 * REACH, generator=torch.Generator().manual_seed(1)) * 8
    with torch.inference_mode():
        torch.testing.assert_close(music.compose(noise, *told), music.generator(noise / 2, *told))
        assert not torch.allclose(music.compose(noise, *told), music.generator(noise, *told), atol=1e-3)


def test_the_levels_of_the_straight_way_are_what_it_plays_of_latents_that_stand_still() -> None:
    decoder = Decoder(CONFIG)
    latents = torch.randn(2, CONFIG.latent, 1).expand(-1, -1, 6)
    with torch.inference_mode():
        played = decoder.straight(latents)[:, : CONFIG.relative, 8:-8].unflatten(2, (4, 8)).mean(dim=3)
        torch.testing.assert_close(decoder.levels(latents)[:, :, 1:-1], played)


@pytest.fixture
def few_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small world, of which nothing is heard: what is learned is the same, and figures are another test's."""
    monkeypatch.setattr(melodies, "HELD_OUT", 4)
    monkeypatch.setattr(evaluate_music, "_heard", lambda *_: {})


def trained(name: str, steps: int) -> dict[str, torch.Tensor]:
    schedule = Schedule(steps=steps, save_every=2, sample_every=100, log_every=1)
    config = dataclasses.replace(TINY, precision="fp32", heard=2, autoencoder_steps=2)
    music.train(Run(name, "music", schedule), config)
    found = checkpoint.opened(checkpoint.directory(name))
    return {**checkpoint.load_model(found)[1], **checkpoint.load_state(found)[1]}


@pytest.mark.slow
@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)])
def test_a_run_that_resumes_before_at_or_after_the_switch_learns_the_same(
    workspace: Path, few_to_compare: None, stop: int
) -> None:
    wanted = trained("whole", 4)
    trained("halved", stop)
    found = trained("halved", 4)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_each_phase_learns_its_own_networks(workspace: Path, few_to_compare: None) -> None:
    before, after = trained("run", 2), trained("run", 4)
    for part, learned in (
        ("music.decoder.layers", False),
        ("encoder.layers", False),
        ("music.generator", True),
        ("reader.", True),
        ("critic.", True),
    ):
        names = [name for name in before if name.startswith(part) and name.endswith("weight")]
        assert names
        assert all(torch.equal(before[name], after[name]) is not learned for name in names)


@pytest.mark.slow
def test_figures_and_samples_of_both_phases(workspace: Path) -> None:
    config = dataclasses.replace(TINY, precision="fp32", heard=6)
    meta = music.train(Run("run", "music", music.SCHEDULES["tiny"]), config)
    names = {"log_mel_db", "mrstft", "frechet", "log_mel_db_floor", "music_key_accuracy", "music_tempo_accuracy"}
    assert names <= meta.metrics.keys()
    for step in (3, 6):
        for suffix in (".png", ".wav"):
            assert (Path("artifacts/runs/run/samples") / f"step-{step:07d}{suffix}").stat().st_size > 1000
    found, network = music.load_generator(checkpoint.directory("run"))
    assert found.model["keys"] == list(melodies.music_set(16_000, 0.1, 1).classes)
    assert network.config == ModelConfig(**found.model)
    assert not network.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1}, "--batch-size is 1, wanted at least 2"),
        ({"gan_frames": 30}, "--gan-frames is 30, wanted from 40 to 93"),
        ({"fall_steps": 3}, "--fall-steps is 3, wanted more than --autoencoder-steps"),
        ({"autoencoder_frames": 126}, "--autoencoder-frames is 126, wanted from 16 to 125"),
        ({"seconds": 90.0}, "--seconds is 90.0, wanted at most 65.28 at 16000 Hz"),
        ({"gan_learning_rate": 0.0}, "--gan-learning-rate is 0.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **changes)  # type: ignore[arg-type]


def test_carriers_over_half_of_the_rate_are_refused() -> None:
    with pytest.raises(ConfigError, match="--pitches is 76, wanted fewer: 4186 Hz is over half of the rate 8000"):
        ModelConfig(rate=8000)


@pytest.mark.slow
def test_key_and_tempo_are_heard_in_held_out_pieces() -> None:
    hearing = music_hearing.trained(16_000, 6.0)
    assert hearing.key_accuracy >= 0.98
    assert hearing.tempo_accuracy >= 0.98


@pytest.mark.slow
def test_what_is_heard_follows_the_sound_and_not_the_level() -> None:
    hearing = music_hearing.trained(16_000, 6.0)
    found = [melodies.piece(7, index, 6.0) for index in range(3)]
    sounds = np.stack([render(each.notes, 96_000, 16_000) for each in found]) / 32768.0
    keys, tempos = hearing.heard(torch.from_numpy(sounds * 0.1).float())
    assert keys.tolist() == [each.tonic for each in found]
    assert all(
        abs(tempo / each.tempo - 1) <= music_hearing.TOLERANCE for tempo, each in zip(tempos, found, strict=True)
    )
    higher = [dataclasses.replace(each, pitch=each.pitch + 1) for each in found[0].notes]
    moved = torch.from_numpy(render(higher, 96_000, 16_000)[None] / 32768.0).float()
    assert hearing.heard(moved)[0].tolist() == [(found[0].tonic + 1) % 12]
