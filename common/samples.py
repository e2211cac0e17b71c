"""Samples of pixels as whole numbers: uint8 or uint16, [height, width] for gray or [height, width, channels]."""

import numpy as np

# Orientations as in EXIF that exchange width and height.
SIDEWAYS = (5, 6, 7, 8)


def as_samples(pixels):
    """The pixels of a photo, of any array-like, as an array in the machine's byte order.

    Raises ValueError where they are not uint8 or uint16, [height, width] or [height, width, 3], or there are none.
    """
    pixels = np.asarray(pixels)
    native = pixels.dtype.newbyteorder("=")
    if native not in (np.uint8, np.uint16) or pixels.ndim < 2 or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ValueError(
            "a photo is uint8 or uint16, [height, width] or [height, width, 3], and not "
            f"{pixels.dtype} {list(pixels.shape)}"
        )
    return pixels.astype(native, copy=False)


def rescale(values, top, new_top=None):
    """Scales whole numbers from 0..top to 0..new_top, rounded: uint8 for a `new_top` of up to 255, else uint16.

    By default `new_top` is 255 for a `top` of up to 255, else 65535.
    """
    new_top = new_top or (255 if top < 256 else 65535)
    if top == new_top:
        return values
    rescaled = (values.astype(np.uint32) * new_top + top // 2) // top
    return rescaled.astype(np.uint8 if new_top < 256 else np.uint16)


def from_video_range(values, bits):
    """Stretches gray or colours from video's range, which is 16..235 for 8 bits, to the whole range of their type.

    Values are uint8 or uint16 [height, width, 1 to 4], in and out. With 2 or 4 channels the last one is alpha, which
    stays. A channel has `bits` in the file, at least 8.
    """
    top, step = np.iinfo(values.dtype).max, (1 << bits - 8) / ((1 << bits) - 1)
    colors, alpha = np.split(values, [1 if values.shape[2] < 3 else 3], axis=2)
    full = ((colors / top - 16 * step) / (219 * step)).clip(0, 1)
    return np.concatenate([np.round(full * top).astype(values.dtype), alpha], axis=2)


def unpremultiply(values):
    """Divides colours by alpha, the last channel: uint8 or uint16 [height, width, channels], in and out."""
    top = np.iinfo(values.dtype).max
    alpha = np.maximum(values[..., -1:], 1).astype(np.float32)
    colors = np.minimum(np.round(values[..., :-1] * (top / alpha)), top).astype(values.dtype)
    return np.concatenate([colors, values[..., -1:]], axis=-1)


def turn_upright(values, orientation):
    """Turns pixels upright from an orientation as in EXIF, 1..8; other numbers leave them as they are."""
    if orientation in SIDEWAYS:
        values = np.swapaxes(values, 0, 1)
    down, right = (-1 if orientation in mirrored else 1 for mirrored in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return values[::down, ::right]


def as_color(pixels):
    """Returns gray [height, width] or sRGB [height, width, 3] as [height, width, 3]; gray as a read-only view."""
    return pixels if pixels.ndim == 3 else np.broadcast_to(pixels[..., None], (*pixels.shape, 3))
