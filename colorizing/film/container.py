"""What a film's container says and FFmpeg does not tell: whether it is encrypted, whether it was cut off, and tags.

All functions raise OSError where the file cannot be read.
"""

import re

# Bytes at the start and at the end of a file that are searched. Ogg's longest page has 65,307.
NEAR = 1 << 17
# Bytes of a packet of transport streams, and where its sync byte is: plain, Blu-ray's, and with error correction.
TRANSPORT_PACKETS, SYNC, IN_ROW = ((188, 0), (192, 4), (204, 0)), 0x47, 3
OGG_PAGE, OGG_HEADER, OGG_LAST = b"OggS", 27, 4
# The object in the header of ASF (WMV) that says how many bytes the file has; those that broadcast do not know it.
ASF_PROPERTIES, ASF_BROADCAST = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"), 1
# The first partition of MXF, which says where the last one begins.
MXF_PARTITION = re.compile(rb"\x06\x0e\x2b\x34\x02\x05\x01.\x0d\x01\x02\x01\x01\x02..(.)", re.DOTALL)
# The boxes of MP4 and MOV whose end a film cannot lack.
MP4_BOXES = (b"mdat", b"moof", b"moov")
# A table of pictures or sound that are all of one kind, which is encrypted (ISO/IEC 14496-12), or by Apple's FairPlay.
ENCRYPTED_SAMPLES = re.compile(rb"stsd\0{7}\x01.{4}(encv|enca|drmi|drms)", re.DOTALL)
# A table of pictures of several kinds, of which one is encrypted. FFmpeg passes over all kinds but the first.
PARTLY_ENCRYPTED = re.compile(rb"stsd\0{7}[^\0\x01].{4,1000}?(encv|drmi)", re.DOTALL)
# What Smooth Streaming (PIFF) puts into a fragment of which some pictures or sounds are encrypted.
ENCRYPTED_FRAGMENT = bytes.fromhex("a2394f525a9b4f14a2446c427c648df4")
# What headers say that FFmpeg does not tell: FFmpeg's name of the format, what is lost, and how to find it.
UNTOLD = (
    # The text boxes of 3GP (3GPP TS 26.244).
    ("mov,", "tags of 3GP dropped", rb"(titl|dscp|cprt|perf|auth|gnre|kywd|albm|yrrc)\0{4}"),
    # A clean aperture that does not have the pictures' size.
    ("mov,", "cropping dropped", rb"stsd.{40}(..)(..).{50,400}?\0\0\0\x28clap(?!\0\0\1\0\0\0\x01\0\0\2\0\0\0\x01)"),
    # Borders of more than 0 pixels, behind the beginning of the tracks and ahead of the first cluster of pictures.
    (
        "matroska",
        "cropping dropped",
        rb"\x16\x54\xae\x6b(?:(?!\x1f\x43\xb6\x75).)*?\x54[\xaa\xbb\xcc\xdd](\x81[^\0]|\x82(?!\0\0))",
    ),
    # The first service (ETSI EN 300 468), unless it is the one that FFmpeg makes up.
    (
        "mpegts",
        "the name of its service dropped",
        rb"\x47[\x40\x60]\x11[\x10-\x1f]\0\x42.{15}\x48[^\0-\3](?!..FFmpeg\x09Service01)",
    ),
)
# Bytes of such tables that are searched at most; those of an hour have about 5 million.
LARGEST_TABLES = 1 << 26


def is_encrypted(path, samples=ENCRYPTED_SAMPLES):
    """Whether all pictures or all sound of a film or a fragment are encrypted. False where MP4 or MOV does not tell.

    `samples` says which tables count as encrypted; PARTLY_ENCRYPTED where no picture can be decoded.
    """
    return any(ENCRYPTED_FRAGMENT in table or samples.search(table) for _, table in _tables(path))


def find_untold(path, container):
    """What is lost of what a film's header says, since FFmpeg does not tell: a list of words.

    `container` is FFmpeg's name of the format.
    """
    if container.startswith("mov,"):
        header = next((table for kind, table in _tables(path) if kind == b"moov"), b"")
    else:
        with path.open("rb") as file:
            header = file.read(NEAR)
    return [words for name, words, said in UNTOLD if container.startswith(name) and re.search(said, header, re.DOTALL)]


def is_cut(path, container, picture):
    """Whether a film's file lacks its end. False where its container, by FFmpeg's name of the format, does not tell.

    `picture` is the size in bytes of the first picture's packet; 0 if there is none.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if container.startswith("mov,"):
            return any(kind in MP4_BOXES and at + length > size for kind, at, length in _boxes(file, size))
        head = file.read(NEAR)
        file.seek(max(0, size - NEAR))
        tail = file.read()
    match container:
        case "mpegts":
            # Zeros can fill up the last block of a disk; the content of the last packet can end with some, too.
            longest = TRANSPORT_PACKETS[-1][0]
            least = len(tail.rstrip(b"\0"))
            if least < min(len(tail), IN_ROW * longest):  # So many zeros are content that is missing.
                return True
            ends = range(least, min(len(tail), least + longest) + 1)
            return not any(_ends_with_packets(tail[:end], *packet) for end in ends for packet in TRANSPORT_PACKETS)
        case "dv":
            return picture > 0 and size % picture > 0
        case "ogg":
            return _lacks_last_page(tail)
        case "asf":
            properties = head[head.find(ASF_PROPERTIES) :]
            length, flags = (int.from_bytes(properties[at : at + 8], "little") for at in (40, 88))
            return size < length and not flags & ASF_BROADCAST
        case "mxf":
            return size <= _last_partition(head)
    return False


def _ends_with_packets(tail, length, sync):
    return all(tail[sync - length * number] == SYNC for number in range(1, min(IN_ROW, len(tail) // length) + 1))


def _lacks_last_page(tail):
    """Whether the last page of an Ogg file is not whole, or not the last one of its stream."""
    page = tail[tail.rfind(OGG_PAGE) :]
    if len(page) < OGG_HEADER:
        return True
    segments = page[OGG_HEADER : OGG_HEADER + page[26]]
    return not page[5] & OGG_LAST or len(page) < OGG_HEADER + page[26] + sum(segments)


def _last_partition(head):
    """Where the last partition of an MXF file begins, in bytes; 0 where its first partition does not say."""
    first = MXF_PARTITION.search(head)
    if first is None:
        return 0
    # The length comes first: one byte, or n bytes after a byte of 0x80 + n.
    value = first.end() + max(0, first[1][0] - 0x80)
    return int.from_bytes(head[value + 24 : value + 32], "big")


def _tables(path):
    """Yields (kind, content) of the boxes of an MP4 or MOV film that describe its pictures and sound: moov and moof."""
    with path.open("rb") as file:
        for kind, at, length in _boxes(file, path.stat().st_size):
            if kind in (b"moov", b"moof"):
                file.seek(at)
                yield kind, file.read(min(length, LARGEST_TABLES))


def _boxes(file, size):
    """Yields (kind, start, length in bytes) of the boxes of an MP4 or MOV film; the last one may lack its end."""
    at, length = 0, 8
    while at < size and length >= 8:
        file.seek(at)
        start = file.read(16)
        length = int.from_bytes(start[:4], "big")
        if length == 1:
            length = int.from_bytes(start[8:], "big")
        yield start[4:8], at, length
        at += length
