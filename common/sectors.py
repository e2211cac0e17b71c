"""Sectors of a disk that could not be read: copies of a file have zeros in their place."""

import re

from common.decoders import CannotDecode

SECTOR = 512  # Bytes.
LOST = re.compile(rb"\0{%d,}" % SECTOR)


def refuse_lost_sectors(content, start):
    """Raises CannotDecode where zeros behind `start` begin and end as sectors do, or reach the end of the content.

    Zeros that stand for pixels hardly ever do.
    """
    runs = LOST.finditer(content, start) if bytes(SECTOR) in content else ()
    # A few of the bytes around may be zeros as well.
    if any(-run.start() % SECTOR < 4 and (run.end() % SECTOR < 4 or run.end() == len(content)) for run in runs):
        raise CannotDecode("a damaged file (it has zeros where sectors of a disk could not be read)")
