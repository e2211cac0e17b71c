"""Data distillation: targets that are the colours of a trained model."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_experiments import PLAIN, small

import models
from data.pairs import ALONE
from training import teacher
from training.teacher import Teacher
from training.trainer import build
from utils import ab_from_rgb, lightness_from_rgb

SIZE = (64, 96)


class Seen:
    """Colours each pixel by a function of (L, column as a share of the width), and keeps the sizes it was shown."""

    grid = 8

    def __init__(self, color):
        self.color, self.sizes = color, set()

    def infer(self, lightness):
        self.sizes.add(tuple(lightness.shape[1:3]))
        column = tf.zeros_like(lightness) + tf.linspace(0.0, 1.0, lightness.shape[2])[None, None, :, None]
        return tf.concat(self.color(lightness, column), axis=-1)


@pytest.fixture
def taught(monkeypatch):
    """What is learned of a ramp of L, in each of 40 steps, from a model; and the model."""

    def teach(color, seed=0):
        model = Seen(color)
        monkeypatch.setattr(teacher.models, "load", lambda name: model)
        lightness = tf.zeros((2, *SIZE, 1)) + tf.linspace(10.0, 90.0, SIZE[1])[None, None, :, None]
        made = Teacher("any", seed)
        return np.array([made.teach(lightness, None, tf.constant(step)) for step in range(40)]), model

    return teach


def test_colors_of_copies_are_mirrored_and_resized_back(taught):
    targets, model = taught(lambda lightness, column: (lightness, -lightness))
    ramp = np.linspace(10, 90, SIZE[1])
    expected = np.stack([ramp, -ramp], axis=-1)
    np.testing.assert_allclose(targets, np.broadcast_to(expected, targets.shape), atol=0.5)  # Edges are resized.
    factors = np.array(sorted(model.sizes)) / SIZE
    assert len(factors) > 4 and factors.min() < 0.8 and factors.max() > 1.3
    assert 0.62 < factors.min() and factors.max() < 1.51  # 0.7 to 1.45, rounded to cells of 8 pixels.


def test_half_of_the_copies_are_mirrored_as_seed_and_step_say(taught):
    def left(lightness, column):
        return (column, column)

    targets, _ = taught(left)
    rising = targets[:, 0, 0, -1, 0] > targets[:, 0, 0, 0, 0]
    assert 12 <= rising.sum() <= 28
    np.testing.assert_array_equal(targets, taught(left)[0])
    assert not np.array_equal(targets, taught(left, seed=2**32 - 1)[0])


def test_labels_stay(monkeypatch):
    monkeypatch.setattr(teacher.models, "load", lambda name: Seen(lambda lightness, column: (column, column)))
    lightness, ab, labels = tf.zeros((2, *SIZE, 1)), tf.zeros((2, *SIZE, 2)), tf.constant([3, 1])
    made = Teacher("any", 0)
    taught_ab, same = made.teach(lightness, (ab, labels), tf.constant(5))
    assert same is labels
    np.testing.assert_array_equal(taught_ab, made.teach(lightness, ab, tf.constant(5)))


def test_a_training_step_learns_from_the_teacher_and_validation_from_the_photos(few_channels, photos, tmp_path):
    made = models.build(small("natural"))
    made.get_layer("output").bias.assign((10 / 128, -20 / 128))  # One colour for all: its kernel begins with zeros.
    models.save(made, tmp_path / "teacher.keras")
    experiment = small("natural", teacher=str(tmp_path / "teacher.keras"), **PLAIN)
    model = build(experiment, SimpleNamespace(classes=0, share=ALONE), steps=1)
    ab, lightness = ab_from_rgb(tf.constant(photos)), lightness_from_rgb(tf.constant(photos))
    cells = keras.ops.average_pool(ab, model.stride)
    for step, expected in ((model.test_step, cells), (model.train_step, np.array([10, -20]))):
        model.reset_metrics()
        np.testing.assert_allclose(step((lightness, ab))["loss"], np.mean((expected / 128) ** 2), rtol=1e-3)
