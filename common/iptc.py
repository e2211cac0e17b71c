"""IPTC: what of it exiv2 does not read. Ahead of each value stand its record, its number and its length."""

import contextlib
import re

from PIL import IptcImagePlugin

# Times of a usual length but for a colon in the zone: exiv2 misreads them, or reads nothing of a file that has one.
ODD_TIME = re.compile(rb"(\x1c[\1\2][#&<?P]\0[\x06\x0c](?:\d{6})?[+-]\d\d):(\d\d)")
# Records and numbers of what there may be several of: places, genres, subjects, keywords, references and authors.
SEVERAL = {(1, 5), (1, 50), *((2, number) for number in (4, 12, 20, 25, 26, 27, 45, 47, 50, 80, 85, 118, 122))}


def with_usual_times(content):
    """A file's content, bytes, with times that exiv2 carries: a space behind them stands for the colon."""
    return ODD_TIME.sub(rb"\1\2 ", content)


def has_second_values(photo):
    """Whether a JPEG that Pillow opened has two values of IPTC of what there should be one of; exiv2 reads one."""
    values = None
    with contextlib.suppress(Exception):  # Whatever damaged IPTC makes Pillow raise.
        values = IptcImagePlugin.getiptcinfo(photo)
    return any(
        isinstance(value, list) and len(set(value)) > 1 for kind, value in (values or {}).items() if kind not in SEVERAL
    )
