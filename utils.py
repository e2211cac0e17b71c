"""Colour as batched TensorFlow functions, which training, colorizing and export share.

RGB is sRGB (IEC 61966-2-1), Lab is CIELAB under D65 (2 degrees), with scikit-image's constants. Channels come last.
"""

import numpy as np
import tensorflow as tf

# Linear sRGB to CIE XYZ and the white point, as in skimage.color.colorconv.
XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])

# How far linear RGB may lie outside 0..1.
TOLERANCE = 1e-5
# Steps of the bisection of chroma.
HALVINGS = 10

_SMALLEST = np.finfo(np.float32).tiny


def _power(base, exponent):
    """Returns base ** exponent for base >= 0. Compiled, exp and log are several times faster than pow."""
    return tf.exp(exponent * tf.math.log(tf.maximum(base, _SMALLEST)))


def _decode_srgb(encoded):
    return tf.where(encoded > 0.04045, _power((encoded + 0.055) / 1.055, 2.4), encoded / 12.92)


def _encode_srgb(linear):
    return tf.where(linear > 0.0031308, 1.055 * _power(linear, 1 / 2.4) - 0.055, linear * 12.92)


def linear_rgb(rgb):
    """Decodes sRGB values of any shape, uint8, uint16 or floats in 0..1, to linear light: float32 in 0..1."""
    if rgb.dtype == tf.uint8:
        table = _decode_srgb(tf.range(256, dtype=tf.float32) / 255)
        return tf.gather(table, tf.cast(rgb, tf.int32))
    return _decode_srgb(tf.cast(rgb, tf.float32) / 65535 if rgb.dtype == tf.uint16 else rgb)


def _lab_curve(ratio):
    return tf.where(ratio > 0.008856, _power(ratio, 1 / 3), 7.787 * ratio + 16 / 116)


def _lab_curve_inverse(value):
    return tf.where(value > 0.2068966, value**3, (value - 16 / 116) / 7.787)


def _planes(colors):
    """Splits colours [..., 3] into a vector [pixels] a channel, on which compiled maths is twice as fast."""
    return tf.unstack(tf.transpose(tf.reshape(colors, (-1, 3))))


def _join(planes, like):
    """Joins vectors [pixels] to colours [..., channels] in the shape of the pixels of `like`."""
    return tf.reshape(tf.transpose(tf.stack(planes)), tf.concat([tf.shape(like)[:-1], [len(planes)]], 0))


def _mix(planes, weights):
    return tf.add_n([plane * float(weight) for plane, weight in zip(planes, weights, strict=True)])


def lightness_from_rgb(rgb):
    """Returns L in 0..100, float32 [..., 1], of sRGB [..., 3]: uint8, uint16, or floats in 0..1."""
    luminance = _mix(map(linear_rgb, _planes(rgb)), XYZ_FROM_RGB[1])
    return _join([116 * _lab_curve(luminance) - 16], rgb)


def ab_from_rgb(rgb):
    """Returns ab in Lab units, float32 [..., 2], of sRGB [..., 3]: uint8, uint16, or floats in 0..1."""
    linear = [linear_rgb(plane) for plane in _planes(rgb)]
    x, y, z = (_lab_curve(_mix(linear, weights)) for weights in XYZ_FROM_RGB / WHITE[:, None])
    return _join([500 * (x - y), 200 * (y - z)], rgb)


def rgb_to_lab(rgb):
    """Returns CIELAB, float32 [..., 3] (L in 0..100, a, b), of sRGB [..., 3]: uint8, uint16, or floats in 0..1."""
    rgb = tf.convert_to_tensor(rgb)
    return tf.concat([lightness_from_rgb(rgb), ab_from_rgb(rgb)], axis=-1)


def lab_to_linear_rgb(lab):
    """Returns linear sRGB, float32 [..., 3], of CIELAB [..., 3]; outside 0..1 for colours outside sRGB."""
    lab = tf.convert_to_tensor(lab)
    return _join(_linear_planes(*_planes(lab)), lab)


def _linear_planes(lightness, a, b):
    y = (lightness + 16) / 116
    # Z is not negative, as in scikit-image: such colours lie far outside sRGB.
    xyz = [_lab_curve_inverse(value) for value in (y + a / 500, y, tf.maximum(y - b / 200, 0))]
    return [_mix(xyz, weights) for weights in np.linalg.inv(XYZ_FROM_RGB) * WHITE]


def lab_to_rgb(lab):
    """Returns sRGB in 0..1, float32 [..., 3], of CIELAB [..., 3]. Colours outside sRGB are clipped."""
    return tf.clip_by_value(_encode_srgb(lab_to_linear_rgb(lab)), 0, 1)


def to_whole_numbers(rgb, dtype):
    """Rounds sRGB floats in 0..1 to whole numbers of a type, tf.uint8 or tf.uint16."""
    return tf.cast(tf.round(rgb * dtype.max), dtype)


def outside_srgb(lab):
    """Returns which colours of CIELAB, float32 [..., 3], lie outside sRGB: bool [..., 1]."""
    lab = tf.convert_to_tensor(lab)
    return _join([_outside(*_planes(lab))], lab)


def _outside(lightness, a, b):
    red, green, blue = (tf.abs(plane - 0.5) for plane in _linear_planes(lightness, a, b))
    # Not reduce_max, which some of the runtimes that models are exported to lack for these.
    return tf.maximum(tf.maximum(red, green), blue) > 0.5 + TOLERANCE


def fit_chroma(lab):
    """Shrinks chroma at constant L and hue until the colour lies inside sRGB, by bisection.

    Args:
        lab: CIELAB, float32 [..., 3], with L in 0..100.

    Returns:
        CIELAB, float32 [..., 3]: the same L; ab unchanged inside sRGB, else scaled down. The chroma is less than the
        largest that fits by at most 2^-HALVINGS of the given chroma.
    """
    lab = tf.convert_to_tensor(lab)
    lightness, a, b = _planes(lab)

    def halve(step, factor):
        larger = tf.minimum(factor + step, 1)
        return step / 2, tf.where(_outside(lightness, a * larger, b * larger), factor, larger)

    factor = tf.where(_outside(lightness, a, b), 0.0, 1.0)
    _, factor = tf.while_loop(lambda step, _: step >= 0.5**HALVINGS, halve, (0.5, factor))
    return _join([lightness, a * factor, b * factor], lab)


def encode_rgb(lab, dtype):
    """Returns sRGB of a type, tf.uint8 or tf.uint16 [..., 3], of CIELAB [..., 3]; see `fit_chroma`."""
    return to_whole_numbers(lab_to_rgb(fit_chroma(lab)), dtype)


def lightness_from_gray(gray):
    """Returns L in 0..100, float32, of gray sRGB values of the same shape: uint8, uint16, or floats in 0..1."""
    return 116 * _lab_curve(linear_rgb(gray)) - 16


def neutral_from_lightness(lightness):
    """Returns the gray of equal L, an sRGB value in 0..1, of L in 0..100. Inverse of `lightness_from_gray`."""
    return tf.clip_by_value(_encode_srgb(_lab_curve_inverse((lightness + 16) / 116)), 0, 1)


def saturate(rgb, factor):
    """Raises HSV saturation to S' = min(factor * S, 1) at constant hue and value (paper, section 3.5, its T).

    With V = max(R, G, B), m = min(R, G, B) and S = (V - m) / V, scaling S maps each channel c to V - k (V - c), where
    k = min(factor, V / (V - m)). This is exact and needs no conversion to HSV.

    Args:
        rgb: sRGB floats in 0..1, [..., 3].
        factor: T, at least 0.

    Returns:
        sRGB in 0..1, same shape.
    """
    red, green, blue = _planes(rgb)
    value = tf.maximum(tf.maximum(red, green), blue)
    spread = value - tf.minimum(tf.minimum(red, green), blue)
    stretch = tf.minimum(tf.cast(factor, rgb.dtype), value / tf.maximum(spread, _SMALLEST))
    return _join([value - stretch * (value - channel) for channel in (red, green, blue)], rgb)
