"""Log-mel spectrograms and distances, each against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training import mel

RATE = 16_000


def sine(frequency: float, amplitude: float = 1.0, seconds: float = 0.5, rate: int = RATE) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * rate)) / rate)[None]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_no_band_is_empty_and_each_has_the_sum_one(rate: int) -> None:
    filters = mel.filters(rate)
    assert len(filters) == mel.BANDS
    assert ((filters > 0).sum(dim=1) >= 1).all()
    torch.testing.assert_close(filters.sum(dim=1), torch.ones(mel.BANDS))


def test_log_mel_is_the_formula_written_out() -> None:
    wave = torch.randn(1, 1_600, generator=torch.Generator().manual_seed(0)) * 0.1
    found = mel.log_mel(wave, RATE)
    length = 512  # the next power of two of 0.032 s
    assert found.shape == (1, 80, 1 + 1_600 // mel.step_of(RATE)) and mel.step_of(RATE) == length // 4
    window = 4 / length * np.hanning(length + 1)[:-1]  # the periodic one
    silence = np.zeros(length // 2)
    padded = np.concatenate([silence, wave[0].double().numpy(), silence])
    frames = [padded[at : at + length] * window for at in range(0, 1_601, length // 4)]
    spectra = np.abs(np.fft.rfft(np.array(frames), 2 * length))  # (F, bins)
    expected = np.log(np.maximum(spectra @ mel.filters(RATE).double().numpy().T, mel.FLOOR)).T
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4)


def test_a_sine_lies_in_its_band_and_silence_on_the_floor() -> None:
    found = mel.log_mel(sine(1_000), RATE)[0, :, 20]
    mels = 2595 * math.log10(1 + 1_000 / 700) / (2595 * math.log10(1 + 8_000 / 700)) * 81
    assert int(found.argmax()) == round(mels) - 1
    louder, softer = mel.log_mel(sine(1_000, 0.5), RATE), mel.log_mel(sine(1_000, 0.05), RATE)
    band = int(found.argmax())
    assert mel.DECIBELS * float(louder[0, band, 20] - softer[0, band, 20]) == pytest.approx(20.0, abs=0.01)
    assert float(mel.log_mel(torch.zeros(1, 100), RATE).max()) == pytest.approx(math.log(mel.FLOOR))


def test_many_waves_are_what_each_is_alone() -> None:
    waves = torch.randn(70, 900, generator=torch.Generator().manual_seed(1))
    together = mel.log_mel(waves, 8_000)
    torch.testing.assert_close(together[68:69], mel.log_mel(waves[68:69], 8_000))


def test_the_log_mel_distance_is_in_decibels() -> None:
    a = torch.randn(2, 80, 7, generator=torch.Generator().manual_seed(2))
    assert mel.log_mel_distance(a, a).tolist() == [0.0, 0.0]
    down = mel.log_mel_distance(a, a - math.log(10) / 20)  # a decibel everywhere
    np.testing.assert_allclose(down.numpy(), [1.0, 1.0], rtol=1e-5)
    b = a.clone()
    b[0, :40, 3] += math.log(10) / 20 * 4  # 4 dB in half of the bands of one of seven frames
    np.testing.assert_allclose(mel.log_mel_distance(a, b).numpy(), [math.sqrt(16 / 2) / 7, 0.0], rtol=1e-5)


def test_frechet_of_diagonal_normals_is_the_sum_of_their_parts() -> None:
    draws = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    a, b = draws * torch.tensor([1.0, 2.0, 3.0]), draws.flip(0) * torch.tensor([2.0, 2.0, 1.0]) + 1.0
    expected = 3.0 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2  # means, and the differences of standard deviations
    assert mel.frechet(a, b) == pytest.approx(expected, rel=0.03)
    assert mel.frechet(a, a) == pytest.approx(0.0, abs=1e-9)
    assert mel.frechet(a, b) == pytest.approx(mel.frechet(b, a))


def test_frechet_of_covariances_that_do_not_commute() -> None:
    """The trace of the root of C_a C_b is the sum of the roots of its eigenvalues."""
    random = torch.Generator().manual_seed(4)
    mixed = [torch.randn(5, 5, generator=random, dtype=torch.float64) for _ in range(2)]
    a = torch.randn(500, 5, generator=random, dtype=torch.float64) @ mixed[0]
    b = torch.randn(400, 5, generator=random, dtype=torch.float64) @ mixed[1]
    cov_a, cov_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    assert mel.frechet(a, b) == pytest.approx(float(means) + np.trace(cov_a) + np.trace(cov_b) - 2 * root)


def test_frechet_needs_two_clips() -> None:
    with pytest.raises(ValueError, match="needs two clips on each side; found 1 and 3"):
        mel.frechet(torch.zeros(1, 2), torch.zeros(3, 2))


def test_features_are_means_over_bands_and_quarters() -> None:
    spectrogram = torch.arange(80.0)[:, None].expand(80, 8) + 1_000 * torch.arange(8.0)
    found = mel.features(spectrogram[None])[0].reshape(20, 4)
    assert found.shape == (20, 4)
    assert float(found[0, 0]) == pytest.approx(1.5 + 500) and float(found[19, 3]) == pytest.approx(77.5 + 6_500)


def test_the_multi_resolution_distance_is_that_of_the_paper() -> None:
    random = torch.Generator().manual_seed(5)
    wanted, found = torch.randn(2, 3_000, generator=random), torch.randn(2, 3_000, generator=random)
    expected = []
    for transform, step, length in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        magnitudes = [_magnitudes(waves, transform, step, length) for waves in (wanted, found)]
        convergence = np.linalg.norm(magnitudes[0] - magnitudes[1]) / np.linalg.norm(magnitudes[0])
        expected.append(convergence + np.abs(np.log(magnitudes[0]) - np.log(magnitudes[1])).mean())
    assert float(mel.multi_resolution_stft(found, wanted)) == pytest.approx(np.mean(expected), rel=1e-4)
    assert float(mel.multi_resolution_stft(wanted, wanted)) == 0.0


def test_the_multi_resolution_distance_can_be_learned_from() -> None:
    wave = sine(440, 0.3).requires_grad_()
    mel.multi_resolution_stft(wave, sine(450, 0.3)).backward()  # type: ignore[no-untyped-call]
    assert wave.grad is not None and torch.isfinite(wave.grad).all() and float(wave.grad.abs().max()) > 0


def _magnitudes(waves: torch.Tensor, transform: int, step: int, length: int) -> np.ndarray:
    window = np.zeros(transform)
    begin = (transform - length) // 2
    window[begin : begin + length] = np.hanning(length + 1)[:-1]
    side = np.zeros(transform // 2)
    rows = []
    for wave in waves.double().numpy():
        padded = np.concatenate([side, wave, side])
        frames = [padded[at : at + transform] * window for at in range(0, len(wave) + 1, step)]
        rows.append(np.sqrt(np.maximum(np.abs(np.fft.rfft(np.array(frames))) ** 2, 1e-7)))
    return np.array(rows)
