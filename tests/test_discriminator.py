import keras
import numpy as np
import tensorflow as tf

from models import residual_encoder
from models.discriminator import Discriminator
from training.callbacks import Checkpoints
from utils import ab_from_rgb, lightness_from_rgb

CHANNELS = (3, 5)


def features(random, mean):
    """Features of four photos at two scales."""
    return [
        random.normal(mean, 1, (4, 8 // scale, 12 // scale, CHANNELS[scale - 1])).astype(np.float32) for scale in (1, 2)
    ]


def test_losses_are_those_of_the_hinge():
    random = np.random.default_rng(0)
    predicted, true = features(random, 0), features(random, 0.5)
    judge = Discriminator(CHANNELS)
    judge.learn(predicted, true)  # Spectral normalisation, which changes the weights, has settled after some steps.
    logits = [[np.asarray(each) for each in judge._network(scales, training=False)] for scales in (predicted, true)]
    mean = [np.mean([each.mean() for each in scales]) for scales in logits]
    assert np.std(logits[0][0]) > 0
    np.testing.assert_allclose(judge.adversarial_loss(predicted), -mean[0], rtol=1e-5)
    hinge = [
        np.mean([np.maximum(0, 1 + sign * each).mean() for each in scales])
        for sign, scales in zip((1, -1), logits, strict=True)
    ]
    np.testing.assert_allclose(judge.learn(predicted, true), sum(hinge), rtol=0.05)


def test_it_learns_to_tell_what_differs():
    random, judge = np.random.default_rng(0), Discriminator(CHANNELS)
    learn = tf.function(judge.learn)
    losses = [float(learn(features(random, -1), features(random, 1))) for _ in range(40)]
    assert losses[0] > 1.5 and losses[-1] < 0.5
    assert judge.adversarial_loss(features(random, -1)) > 1 > -1 > judge.adversarial_loss(features(random, 1))


def test_the_adversarial_loss_counts_in_training_alone_and_is_not_in_the_file(few_channels, monkeypatch, photos):
    monkeypatch.setattr(residual_encoder.efficientnet, "load_classifier", residual_encoder.efficientnet.classifier)
    model = residual_encoder.ResidualEncoder(adversarial_weight=0.5)
    weights = len(model.weights)
    model.compile()
    assert len(model.weights) == weights
    ab, lightness = ab_from_rgb(tf.constant(photos)), lightness_from_rgb(tf.constant(photos))
    output = tf.random.stateless_normal((4, 24, 32, 2), (0, 0)) / 10
    training, validation = (model.compute_loss(lightness, ab, output, training=mode) for mode in (True, False))
    predicted, true = model._judged
    assert all(np.std(ours - theirs) > 0 for ours, theirs in zip(predicted, true, strict=True))
    assert validation == model.color_loss(ab, output)
    np.testing.assert_allclose(training - validation, 0.5 * model._discriminator.adversarial_loss(predicted), rtol=1e-3)


def test_a_run_that_goes_on_has_its_discriminator_again(tmp_path):
    def model():
        judge = Discriminator(CHANNELS)

        class Judged(keras.Sequential):
            checkpointed_variables = property(lambda self: judge.variables)

        made = Judged([keras.Input((1,)), keras.layers.Dense(1)])
        made.compile("sgd")
        made.optimizer.build(made.trainable_variables)
        return made, judge

    random = np.random.default_rng(0)
    checkpoints = Checkpoints(tmp_path)
    before, judge = model()
    checkpoints.set_model(before)
    judge.learn(features(random, -1), features(random, 1))
    checkpoints._save_last()
    after, other = model()
    checkpoints.restore(after)
    batch = features(random, -1), features(random, 1)
    assert judge.learn(*batch) == other.learn(*batch)
    for kept, restored in zip(judge.variables, other.variables, strict=True):
        np.testing.assert_array_equal(kept, restored)


def test_where_losses_do_not_tell_the_last_epoch_is_the_best(tmp_path):
    for by_loss, best in ((True, 0), (False, 1)):
        checkpoints = Checkpoints(tmp_path, by_loss=by_loss)
        checkpoints.history = [{"loss": 1, "val_loss": 1}, {"loss": 1, "val_loss": 2}]
        assert checkpoints.best_epoch() is checkpoints.history[best]
