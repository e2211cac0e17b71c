"""Colour profiles: pixels of any profile as sRGB."""

import functools

import imagecodecs
import numpy as np

# A profile whose pixels have the same numbers in sRGB, up to this many in 65535, is one of sRGB: a step of 8 bits.
SAME = 257
# Pixels that are converted at a time.
STRIP = 1 << 20


class BrokenProfile(Exception):
    """A profile that is damaged, or that is for another kind of pixels."""


@functools.cache
def srgb():
    """The profile of sRGB, bytes, without the time when it was made."""
    profile = imagecodecs.cms_profile("srgb")
    return profile[:24] + bytes(12) + profile[36:]


@functools.cache
def adobe_rgb():
    """The profile of Adobe RGB (1998), bytes, for cameras that name it in EXIF data alone."""
    return imagecodecs.cms_profile("adobergb")


def profile_of_gamma(space, gamma):
    """A profile of the primaries of sRGB for pixels that are light to the power of `gamma`, as PNG's gAMA has it.

    Returns:
        The profile, bytes; None where sRGB's own curve is meant, or nothing that makes sense.
    """
    if not 0.05 < gamma < 5 or abs(gamma - 1 / 2.2) < 0.01:
        return None
    chromaticities = {"whitepoint": (0.3127, 0.329, 1), "primaries": (0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1)}
    return imagecodecs.cms_profile(space, gamma=1 / gamma, **(chromaticities if space == "rgb" else {}))


def to_srgb(values, space, icc):
    """Converts pixels to sRGB.

    Args:
        values: uint8 or uint16, [height, width, channels]: gray, RGB or CMYK.
        space: "gray", "rgb" or "cmyk".
        icc: Their profile, bytes; None takes inks for ideal ones, and anything else for sRGB.

    Returns:
        The same type, [height, width, 1] for gray, else [height, width, 3].

    Raises:
        BrokenProfile: The profile is damaged, or for another space.
    """
    # With 16 bits, profiles of sRGB differ from each other.
    if icc is not None and not (values.dtype == np.uint8 and is_srgb(icc, space)):
        channels = 1 if space == "gray" else 3
        result = np.empty((*values.shape[:2], channels), values.dtype)
        whole = space == "cmyk" or (values.dtype == np.uint8 and _suits_whole_numbers(icc, space))
        step = max(1, STRIP // values.shape[1])
        for top in range(0, len(values), step):
            strip = values[top : top + step]
            strip = strip if whole else strip / np.float32(np.iinfo(values.dtype).max)
            converted = _transform(strip, space, icc)[..., :channels]
            result[top : top + step] = converted if values.dtype == np.uint16 else reduce_bits(converted, 8)
        return result
    if space != "cmyk":
        return values
    top = np.iinfo(values.dtype).max
    light = top - values.astype(np.uint32)
    return ((light[..., :3] * light[..., 3:] + top // 2) // top).astype(values.dtype)


@functools.lru_cache(maxsize=16)
def is_srgb(icc, space):
    """Whether a profile says of gray or RGB values what sRGB says. Raises BrokenProfile, as `to_srgb` does."""
    if space == "cmyk":
        return False
    colors = _cube(np.linspace(0, 1, 18, dtype=np.float32), space)
    return bool(np.abs(_transform(colors, space, icc) - 65535 * colors).max() <= SAME)


@functools.lru_cache(maxsize=16)
def _suits_whole_numbers(icc, space):
    """Whether LittleCMS is exact with 8 bits, in a tenth of the time that floats take: not where curves are steep."""
    colors = _cube(np.r_[0:16, 16:256:16, 255].astype(np.uint8), space)
    difference = _transform(colors, space, icc).astype(int) - _transform(colors / np.float32(255), space, icc)
    return bool(np.abs(difference).max() <= SAME / 2)


def _cube(steps, space):
    """All colours, [steps, colours, channels], of some steps of each channel."""
    axes = [steps] * (1 if space == "gray" else 3)
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(len(steps), -1, len(axes))


def reduce_bits(values, bits):
    """Values of uint16 as ones of fewer bits, rounded: uint8 or uint16."""
    reduced = (values.astype(np.uint32) * ((1 << bits) - 1) + 32767) // 65535
    return reduced.astype(np.uint8 if bits <= 8 else np.uint16)


def _transform(values, space, icc):
    """Pixels of a profile as sRGB, uint16 [height, width, 3], with the rendering intent that the profile asks for.

    Pixels are uint8, or floats in 0..1; of uint16, LittleCMS makes coarse tables.
    """
    values = values[..., 0] if space == "gray" else values
    intent = icc[67] if len(icc) > 67 and icc[67] < 4 else 0
    try:
        return imagecodecs.cms_transform(
            np.ascontiguousarray(values),
            icc,
            srgb(),
            colorspace=space,
            outcolorspace="rgb",
            outdtype="u2",
            intent=intent,
        )
    except (imagecodecs.CmsError, ValueError) as error:
        raise BrokenProfile(str(error)) from error
