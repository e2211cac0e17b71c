"""IPTC: what of it exiv2 does not read. Ahead of each value stand its record, its number and its length."""

import re
import struct

BLOCK = b"8BIM\4\4"  # How it begins among Photoshop's data.
VALUE = struct.Struct(">xBBH")
MARK = b"\x1c"  # What a value begins with.
# Times of a usual length but for a colon in the zone: exiv2 misreads them, or reads nothing of a file that has one.
ODD_TIME = re.compile(rb"(\x1c[\1\2][#&<?P]\0[\x06\x0c](?:\d{6})?[+-]\d\d):(\d\d)")
# Records and numbers of what there may be several of: places, genres, subjects, keywords, references and authors.
SEVERAL = {(1, 5), (1, 50), *((2, number) for number in (4, 12, 20, 25, 26, 27, 45, 47, 50, 80, 85, 118, 122))}


def with_usual_times(content):
    """A file's content, bytes, with times that exiv2 carries: a space behind them stands for the colon."""
    return ODD_TIME.sub(rb"\1\2 ", content)


def has_second_values(data):
    """Whether IPTC among Photoshop's data, bytes, has two values of what there should be one of; exiv2 reads one."""
    found = re.search(re.escape(BLOCK) + rb"(?=(.))", data, re.DOTALL)
    # Its name, of an even number of bytes with its length, and its own length stand ahead of the values.
    at, values = found.end() + found[1][0] // 2 * 2 + 2 + 4 if found else 0, {}
    while data.startswith(MARK, at) and at + VALUE.size <= len(data):
        record, number, size = VALUE.unpack_from(data, at)
        at += VALUE.size + size
        value = data[at - size : at]
        if (record, number) not in SEVERAL and values.setdefault((record, number), value) != value:
            return True
    return False
