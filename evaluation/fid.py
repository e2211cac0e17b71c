"""Fréchet Inception distance (Heusel et al. 2017): how far a set of pictures as a whole is from a set of photos.

The features are those of the InceptionV3 that keras.applications offers, so the figure compares models with each other,
not with figures from other programs, whose Inception has other weights. It needs some thousand photos to be stable.
"""

import keras
import numpy as np
import tensorflow as tf
from scipy.linalg import sqrtm

from common.errors import UserError

SIZE = 299


class Inception:
    """Pictures to features.

    Raises:
        UserError: The weights are not on this machine and cannot be downloaded.
    """

    def __init__(self):
        try:
            self._network = keras.applications.InceptionV3(include_top=False, pooling="avg", weights="imagenet")
        except Exception as error:  # Whatever a missing network, proxy or damaged download makes urllib or Keras raise.
            raise UserError(
                "--fid needs the ImageNet weights of InceptionV3, which Keras downloads once to ~/.keras/models, and "
                f"they cannot be had ({str(error).strip().splitlines()[0]}); leave --fid out, or put "
                "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5 there"
            ) from error

    def features(self, pictures):
        """Features, float32 [pictures, 2048], of sRGB pictures, uint8 [pictures, height, width, 3]."""
        resized = tf.image.resize(tf.cast(pictures, tf.float32), (SIZE, SIZE))
        return self._network(keras.applications.inception_v3.preprocess_input(resized), training=False).numpy()


def frechet_distance(features, references):
    """Fréchet distance between the normal distributions of two sets of features, float [count, size] each.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with means m and covariances C.
    """
    means = features.mean(axis=0) - references.mean(axis=0)
    covariances = [np.cov(np.asarray(values, np.float64), rowvar=False) for values in (features, references)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    return float(means @ means + np.trace(covariances[0] + covariances[1] - 2 * root))
