"""Optimizers and schedules against PyTorch's, and what each experiment asks for."""

import dataclasses

import keras
import numpy as np
import pytest

from configs import EXPERIMENTS
from training.optimizers import make_optimizer

START = [1.0, -0.5, 2.0]
GRADIENTS = [[0.01, -2.0, 3e-4], [0.02, -1.0, -3e-4], [-0.005, 0.5, 1e-3]]
# Where PyTorch 2.13 takes START in three steps, in float64; test_pytorch_takes_the_same_steps computes it anew.
BY_PYTORCH = {
    "iizuka": [
        [0.996984887, -0.496837726, 1.999701341],
        [0.993076853, -0.494752586, 2.000000132],
        [0.994402397, -0.495905668, 1.999045277],
    ],
    "zhang": [
        [0.996840003, -0.49684, 1.996840014],
        [0.993778568, -0.493890191, 1.993737925],
        [0.991777136, -0.492102472, 1.990626262],
    ],
}
# A hundred times Zhang's, so that float32 shows what the third gradient and the penalty do.
RATES = {"iizuka": 1.0, "zhang": 3.16e-3}


@pytest.mark.parametrize("name", BY_PYTORCH)
def test_steps_are_those_of_pytorch(name):
    experiment = dataclasses.replace(EXPERIMENTS[name], learning_rate=RATES[name])
    optimizer, variable = make_optimizer(experiment, steps=3), keras.Variable(START)
    for gradient, expected in zip(GRADIENTS, BY_PYTORCH[name], strict=True):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        np.testing.assert_allclose(variable, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_PYTORCH)
def test_pytorch_takes_the_same_steps(name):
    torch = pytest.importorskip("torch", reason="pip install -r requirements-pretrained.txt")
    weights = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = {
        "iizuka": lambda: torch.optim.Adadelta([weights]),
        "zhang": lambda: torch.optim.Adam([weights], lr=RATES["zhang"], betas=(0.9, 0.99), weight_decay=1e-3),
    }[name]()
    for gradient, expected in zip(GRADIENTS, BY_PYTORCH[name], strict=True):
        weights.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        np.testing.assert_allclose(weights.detach().numpy(), expected, atol=1e-8)


def test_without_weight_decay_adam_is_keras_adam():
    ours, theirs = keras.Variable(START), keras.Variable(START)
    optimizers = make_optimizer(EXPERIMENTS["colornet-l"], steps=3), keras.optimizers.Adam(1e-4, epsilon=1e-8)
    for gradient in GRADIENTS:
        for optimizer, variable in zip(optimizers, (ours, theirs), strict=True):
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_array_equal(ours, theirs)


def test_cosine_schedule_rises_and_falls():
    experiment = dataclasses.replace(EXPERIMENTS["scenes"], warmup_steps=10)
    rate = make_optimizer(experiment, steps=110)._learning_rate
    assert [round(float(rate(step)), 8) for step in (0, 5, 10, 60, 110)] == [0, 2.5e-4, 5e-4, 2.5e-4, 0]
    assert float(make_optimizer(EXPERIMENTS["paper"], steps=110).learning_rate) == np.float32(0.01)


def test_zhang_rate_falls_in_steps():
    rate = make_optimizer(EXPERIMENTS["zhang"], steps=500_000)._learning_rate
    rates = [float(rate(step)) for step in (0, 214_999, 215_000, 429_999, 430_000, 499_999)]
    falls = 3.16e-5 * 0.316 ** np.array([0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(rates, falls, rtol=1e-5)
