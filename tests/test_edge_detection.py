"""The Canny edge map against scikit-image."""

import keras
import numpy as np
import pytest
from skimage import color, feature

from models.colorization import PaperColorizer
from models.edge_detection import canny


def reference(lightness):
    return np.stack([feature.canny(picture[..., 0]) for picture in lightness])[..., None]


@pytest.fixture(scope="module")
def lightness(photos):
    return color.rgb2lab(photos)[..., :1].astype(np.float32)


@pytest.mark.parametrize("shape", [(96, 128), (33, 57), (8, 8), (64, 9)])
def test_canny_agrees_with_scikit_image(lightness, shape):
    cut = lightness[:, : shape[0], : shape[1]]
    edges = canny(cut).numpy()
    assert set(np.unique(edges)) <= {0, 1}
    assert (edges == reference(cut)).mean() >= 0.995


@pytest.mark.parametrize("scale", [0.002, 0.01, 0.1])
def test_canny_agrees_where_hysteresis_decides(lightness, scale):
    # On L in 0..100 nearly every ridge is strong; at these scales many are weak, none or all of which may survive.
    faint = lightness * np.float32(scale)
    expected = reference(faint)
    assert 0 < expected.mean() < reference(lightness).mean()
    assert (canny(faint).numpy() == expected).mean() >= 0.995


def test_flat_picture_has_no_edges():
    assert not canny(np.full((1, 16, 16, 1), 70, np.float32)).numpy().any()


def test_edges_stay_float32_under_bfloat16(lightness):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = PaperColorizer(classification_size=64)
    edges = keras.Model(model.input, model.get_layer("canny").output)(lightness)
    assert model.get_layer("lfn_conv_1").compute_dtype == "bfloat16"
    assert model.output.dtype == edges.dtype == "float32"
    np.testing.assert_array_equal(edges, canny(lightness))
