"""Number formats, loss scaling and the optimizer step, without a GPU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from training.checks import ConfigError
from training.optimization import Optimization
from training.precision import Precision, pick, pick_device
from training.state import load_scaler, scaler_tensors

FP32 = Precision("cpu", None)


@pytest.mark.parametrize(
    ("capable", "cap", "chosen"),
    [(True, "", "bf16"), (False, "", "fp32"), (True, "AVX2", "fp32"), (True, "AVX512_CORE_BF16", "bf16")],
)
def test_auto_takes_bf16_where_the_cpu_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capable: bool, cap: str, chosen: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": capable})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)  # oneDNN computes as if the CPU were that one
    assert str(pick("auto", "cpu")) == chosen
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # of another architecture
    assert str(pick("auto", "cpu")) == "fp32"
    assert str(pick("bf16", "cpu")) == "bf16"  # asked for, it is computed slowly


def test_auto_is_fp16_with_a_scaler_on_cuda() -> None:
    precision = pick("auto", "cuda")
    assert (str(precision), precision.autocast) == ("fp16", torch.float16)
    assert not pick("bf16", "cpu").scaler().is_enabled()


def test_bf16_is_what_a_forward_pass_multiplies_in_and_fp32_stays() -> None:
    layer, x = nn.Linear(4, 4), torch.ones(1, 4)
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with pick(name, "cpu").cast():  # type: ignore[arg-type]
            assert layer(x).dtype is dtype


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu", "--device is 'tpu', wanted auto, cpu or cuda"),
        ("cuda", "--device cuda: this machine has no usable CUDA"),
    ],
)
def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        pick_device(name)
    assert (pick_device("auto"), pick_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(ConfigError, match="--precision fp16 needs a CUDA device; on a CPU use bf16, fp32 or auto"):
        pick("fp16", "cpu")


def test_a_loss_scale_is_saved_and_restored() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3, enabled=True)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.1)
    for loss in (weight.sum(), weight.sum() * math.inf, weight.sum()):
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
    saved = scaler_tensors(scaler)
    assert saved["scaler"].tolist() == [4.0, 1.0]  # halved by the infinite gradient, one good step since
    again = torch.amp.GradScaler("cpu", growth_interval=3, enabled=True)
    load_scaler(again, saved)
    assert again.get_scale() == 4.0
    assert scaler_tensors(again)["scaler"].tolist() == [4.0, 1.0]


def test_a_run_that_goes_on_in_another_format_has_a_fresh_scale() -> None:
    enabled, disabled = (torch.amp.GradScaler("cpu", enabled=on) for on in (True, False))
    assert scaler_tensors(disabled) == {}
    before = enabled.get_scale()
    load_scaler(enabled, {})
    assert enabled.get_scale() == before
    load_scaler(disabled, scaler_tensors(enabled))
    assert not disabled.is_enabled()


def test_a_long_gradient_is_clipped_and_a_short_one_is_not() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimization = Optimization(FP32, {"network": torch.optim.SGD([weight], 1.0)}, clip=1.0)
    optimization.minimize("network", (weight * torch.tensor([30.0, 40.0])).sum())
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.6, -0.8]))
    optimization.minimize("network", (weight * torch.tensor([0.1, 0.0])).sum())
    torch.testing.assert_close(weight.detach(), torch.tensor([-0.7, -0.8]))


def test_each_optimizer_moves_its_own_parameters_and_both_are_restored() -> None:
    def new() -> tuple[list[nn.Parameter], Optimization]:
        weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
        return weights, Optimization(FP32, {name: torch.optim.Adam([w]) for name, w in zip("ab", weights, strict=True)})

    weights, optimization = new()
    optimization.minimize("a", (weights[0] * weights[1]).sum())
    assert (weights[0] < 1).all() and (weights[1] == 1).all()
    optimization.minimize("b", (weights[0] * weights[1]).sum())
    optimization.end_step()
    state = {name: tensor.clone() for name, tensor in optimization.state().items()}  # as out of a file
    assert set(state) == {
        f"optimizer.{name}.0.{moment}" for name in "ab" for moment in ("step", "exp_avg", "exp_avg_sq")
    }
    others, again = new()
    for mine, theirs in zip(others, weights, strict=True):
        mine.data.copy_(theirs.data)
    again.load(state)
    for network, step in ((weights, optimization), (others, again)):
        step.minimize("a", network[0].sum())
    assert torch.equal(weights[0], others[0])
