"""Colour profiles: pixels of any profile as sRGB, by LittleCMS."""

import functools
import re

import cv2
import imagecodecs
import numpy as np

# A profile whose pixels have the same numbers in sRGB, up to this many in 65535, is one of sRGB: a step of 8 bits.
SAME = 257
# Tables, which LittleCMS makes to be ten times as fast, are too coarse for 16 bits and for steep curves.
WITHOUT_TABLES = int(imagecodecs.CMS.FLAGS.NOOPTIMIZE)

# CIE x and y of D65 and of the primaries of sRGB; by H.273's numbers those of other primaries, BT.2020 and Display P3,
# and exponents of transfer characteristics. All others are taken for those of sRGB.
SRGB_PLACES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
PLACES = {
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
EXPONENTS = {4: 2.2, 5: 2.8, 8: 1.0}
# Where a profile has such numbers: PQ or HLG.
HIGH_DYNAMIC_RANGE = re.compile(rb"cicp\0{4}.[\x10\x12]", re.DOTALL)
# The entry of EXIF's interoperability index that stands for Adobe RGB, in both orders of bytes.
ADOBE_RGB = re.compile(rb"\x01\0\x02\0\x04\0\0\0R03|\0\x01\0\x02\0\0\0\x04R03")


class BrokenProfile(Exception):
    """A profile that is damaged, or that is for another kind of pixels."""


@functools.cache
def srgb():
    """The profile of sRGB, bytes, without the time when it was made."""
    profile = imagecodecs.cms_profile("srgb")
    return profile[:24] + bytes(12) + profile[36:]


def profile_by_exif(exif):
    """The profile, bytes, that cameras name in EXIF data, bytes, alone: Adobe RGB (1998), or None."""
    return imagecodecs.cms_profile("adobergb") if ADOBE_RGB.search(exif) else None


def profile_by_bmp(header):
    """The profile of the primaries and curves in BMP's header, bytes, of the fourth version or later, or None.

    The primaries are CIE XYZ in fractions of 2^-30, the exponents of red, green and blue in fractions of 2^-16.
    """
    if len(header) < 108 or header[0] < 108 or any(header[56:60]):
        return None
    primaries = np.frombuffer(header, "<i4", 9, 60).reshape(3, 3) / 2**30
    exponent = np.frombuffer(header, "<u4", 3, 96).mean() / 2**16
    if not exponent:  # Most programs leave this empty.
        return None
    sums = np.vstack([primaries.sum(axis=0), primaries])
    places = (sums[:, :2] / sums.sum(axis=1, keepdims=True)).ravel() if primaries.any() else None
    return profile_by_gamma("rgb", places, exponent)


def has_srgb_primaries(space, places):
    """Whether primaries, as for `make_profile`, are those of sRGB."""
    return space == "gray" or places is None or np.allclose(places, SRGB_PLACES, atol=0.002)


def make_profile(space, places, exponent):
    """A profile of primaries and a curve.

    Args:
        space: "gray" or "rgb".
        places: CIE x and y of white, red, green and blue: 8 numbers; None for those of sRGB.
        exponent: Light is a value to this power; None for the curve of sRGB.

    Returns:
        The profile, bytes; None where sRGB is meant, and b"" where the numbers make no sense.
    """
    own = has_srgb_primaries(space, places)
    if own and exponent is None:
        return None
    if exponent is not None and not 0.1 < exponent < 10:
        return b""
    # Comparisons with nan fail. Of no light is the white farther from gray.
    if not own and not ((np.abs(places) <= 1).all() and 0.2 < min(places[:2]) and max(places[:2]) < 0.5):
        return b""
    white, *primaries = [(x, y, 1.0) for x, y in np.reshape(SRGB_PLACES if own else places, (4, 2)).tolist()]
    options = {} if space == "gray" else {"whitepoint": white, "primaries": sum(primaries, ())}
    if exponent is None:
        options["transferfunction"] = np.round(65535 * light_of_srgb(np.linspace(0, 1, 4096))).astype(np.uint16)
    try:
        return imagecodecs.cms_profile(space, gamma=exponent, **options)
    except (imagecodecs.CmsError, ValueError):
        return b""


def profile_by_gamma(space, places, exponent):
    """As `make_profile`; None also for sRGB as programs describe it: by its primaries and an exponent near 2.2."""
    if exponent and abs(exponent - 2.2) < 0.05 and has_srgb_primaries(space, places):
        return None
    return make_profile(space, places, exponent)


def light_of_srgb(values):
    """The linear light, 0..1, of sRGB values in 0..1."""
    return np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)


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
    if icc is None and space == "cmyk":
        top = np.iinfo(values.dtype).max
        light = top - values.astype(np.uint32)
        return ((light[..., :3] * light[..., 3:] + top // 2) // top).astype(values.dtype)
    # With 16 bits, profiles of sRGB differ from each other.
    if icc is None or (values.dtype == np.uint8 and is_srgb(icc, space)):
        return values
    if space == "gray":
        every = np.arange(np.iinfo(values.dtype).max + 1, dtype=values.dtype).reshape(1, -1, 1)
        return cv2.LUT(values, _transform(every, space, icc, values.dtype, WITHOUT_TABLES)[..., 0])[..., None]
    tables = space == "cmyk" or (values.dtype == np.uint8 and _suits_tables(icc))
    return _transform(values, space, icc, values.dtype, 0 if tables else WITHOUT_TABLES)


@functools.lru_cache(maxsize=16)
def is_srgb(icc, space):
    """Whether a profile says of gray or RGB values what sRGB says. Raises BrokenProfile, as `to_srgb` does."""
    if space == "cmyk":
        return False
    colors = _colors(space)
    shown = _transform(colors, space, icc, np.uint16, WITHOUT_TABLES)
    black, white = shown[0, 0], shown[-1, -1]
    if black.max() >= white.min():
        raise BrokenProfile("it shows white no lighter than black")
    return bool(np.abs(shown - 257.0 * colors).max() <= SAME)


@functools.lru_cache(maxsize=16)
def _suits_tables(icc):
    """Whether tables are exact for 8 bits of RGB."""
    fast, exact = (_transform(_colors("rgb"), "rgb", icc, np.uint16, flags) for flags in (0, WITHOUT_TABLES))
    return bool(np.abs(fast.astype(int) - exact).max() <= SAME / 2)


def _colors(space):
    """Colours all over a space, the dark ones close together: uint8 [steps, colours, channels]."""
    steps = np.r_[0:16, 16:256:16, 255].astype(np.uint8)
    axes = np.meshgrid(*[steps] * (1 if space == "gray" else 3))
    return np.stack(axes, axis=-1).reshape(len(steps), -1, len(axes))


def _transform(values, space, icc, dtype, flags):
    """Pixels of a profile as sRGB, [height, width, 3], with the rendering intent that the profile asks for."""
    values = np.ascontiguousarray(values[..., 0] if space == "gray" else values)
    intent = icc[67] if len(icc) > 67 and icc[67] < 4 else 0
    options = {"colorspace": space, "outcolorspace": "rgb", "outdtype": np.dtype(dtype), "intent": intent}
    try:
        return imagecodecs.cms_transform(values, icc, srgb(), flags=flags, **options)
    except (imagecodecs.CmsError, ValueError) as error:
        raise BrokenProfile(str(error)) from error
