"""The optimizer of an experiment and its learning rate schedule."""

import keras
import tensorflow as tf


def make_optimizer(experiment, steps):
    """The experiment's optimizer with its learning rate schedule over a number of steps."""
    rate = make_schedule(experiment, steps)
    if experiment.optimizer == "sgd":
        return keras.optimizers.SGD(rate)
    if experiment.optimizer == "adadelta":
        # Torch's defaults; Keras's are 0.95 and 1e-7.
        return keras.optimizers.Adadelta(rate, rho=0.9, epsilon=1e-6)
    if experiment.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=experiment.weight_decay, beta_2=experiment.beta_2)
    # Caffe's and PyTorch's epsilon; Keras's is 1e-7.
    return Adam(rate, penalty=experiment.weight_decay, beta_2=experiment.beta_2, epsilon=1e-8)


def make_schedule(experiment, steps):
    """The learning rate of the experiment, or its schedule over a number of steps."""
    rate = experiment.learning_rate
    if experiment.schedule == "steps":
        return keras.optimizers.schedules.ExponentialDecay(
            rate, experiment.decay_steps, experiment.decay_factor, staircase=True
        )
    if experiment.schedule == "cosine":
        warmup, frozen = experiment.warmup_steps, frozen_steps(experiment, steps)
        if 0 < frozen < steps:
            return ConsecutiveSchedules(cosine(rate, frozen, warmup), cosine(rate / 10, steps - frozen, warmup), frozen)
        return cosine(rate, steps, warmup)
    return rate


def frozen_steps(experiment, steps):
    """Number of the first steps of a run, in which the encoder is frozen."""
    return round(experiment.frozen_share * steps)


def cosine(rate, steps, warmup_steps):
    """A schedule that rises linearly from 0 to `rate` over the warm-up, and falls to 0 in a half cosine at `steps`."""
    warmup = min(warmup_steps, steps // 2)
    return keras.optimizers.schedules.CosineDecay(0.0, steps - warmup, warmup_target=rate, warmup_steps=warmup)


class Adam(keras.optimizers.Adam):
    """Keras's Adam with the weight decay of Caffe and PyTorch: an L2 penalty, whose gradient Adam adapts too.

    Args:
        rate: Learning rate or schedule.
        penalty: The loss grows by penalty / 2 times the squared norm of all trained variables.
        options: Those of the base class, whose own `weight_decay` is the decoupled one of AdamW.
    """

    def __init__(self, rate, penalty=0.0, **options):
        super().__init__(rate, **options)
        self.penalty = penalty

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient + self.penalty * variable, variable, learning_rate)


class ConsecutiveSchedules(keras.optimizers.schedules.LearningRateSchedule):
    """One learning rate schedule for a number of steps, then a second one, which counts steps from 0 again."""

    def __init__(self, first, second, steps):
        self.first, self.second, self.steps = first, second, steps

    def __call__(self, step):
        later = tf.maximum(tf.cast(step, tf.int64) - self.steps, 0)
        return tf.where(step < self.steps, self.first(step), self.second(later))
