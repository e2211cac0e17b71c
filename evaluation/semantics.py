"""A classifier that judges colours, EfficientNet-Lite2 trained on ImageNet, and the Fréchet distance of its features.

The encoder of `natural` is another network, EfficientNet-Lite0. FID uses Inception, and the semantic interpretability
of Zhang et al. 2016, section 3.1, uses VGG-16 and labels by people, so neither compares with metrics by this one.
"""

import cv2
import numpy as np
import tensorflow as tf

from models.efficientnet import load_classifier
from models.precision import numeric_policy

VARIANT = "efficientnet-lite2"
# Side in pixels of the photos that the network was trained on.
SIZE = 260


class Classifier:
    """EfficientNet-Lite2 on photos of any size; in float32, since bfloat16 gives some photos another class."""

    def __init__(self):
        with numeric_policy("float32"):
            self._network = tf.function(load_classifier(VARIANT), reduce_retracing=True, autograph=False)

    def __call__(self, photos):
        """Looks at the central squares of photos.

        Args:
            photos: sRGB, uint8 [photos, height, width, 3].

        Returns:
            (features float32 [photos, 1280], the most likely class of ImageNet, int64 [photos]).
        """
        squares = np.stack([_square(photo) for photo in photos]).astype(np.float32)
        features, logits = self._network(squares, training=False)
        return features.numpy(), np.argmax(logits, axis=-1)


def _square(photo):
    """The largest central square of a photo, [SIZE, SIZE, 3]."""
    side = min(photo.shape[:2])
    top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
    square = photo[top : top + side, left : left + side]
    return cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC)


def frechet_distance(features, references):
    """Fréchet distance between the normal distributions of two sets of features, float [count, size] each.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with means m and covariances C (Heusel et al. 2017). It depends on how
    many photos there are: compare it on the same photos only.
    """
    sets = [np.asarray(values, np.float64) for values in (features, references)]
    means = sets[0].mean(axis=0) - sets[1].mean(axis=0)
    # C = A^T A. The eigenvalues of C1 C2 are the squared singular values of A1 A2^T, which exist for few photos, too.
    first, second = ((values - values.mean(axis=0)) / np.sqrt(len(values) - 1) for values in sets)
    root_trace = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return max(0.0, float(means @ means + np.sum(first**2) + np.sum(second**2) - 2 * root_trace))
