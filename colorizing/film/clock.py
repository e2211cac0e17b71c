"""One clock for a film whose file is several files joined byte by byte, each with a clock of its own."""

# Formats whose files can be joined byte by byte. At a seam, the clock is set back by more than SET_BACK seconds.
JOINED, SET_BACK = ("mpeg", "mpegts"), 1


class Clock:
    """Moves packets in time, so that a film begins where it should and goes on in joined files.

    Args:
        container: FFmpeg's name of the format.
        late: Seconds by which the film's own clock is ahead of that of the result.
    """

    def __init__(self, container, late):
        self._is_joined = container in JOINED
        # Seconds that are taken off the times in each file; which file each stream has reached, and its time there.
        self._shifts, self._files, self._times = [late], {}, {}
        self.reached = 0  # When what has been read so far ends, in seconds.

    def move(self, packet):
        """Moves a packet. Returns whether it is the first of its stream in a further file."""
        if packet.dts is None and packet.pts is None:
            return False
        stream = packet.stream
        time = (packet.pts if packet.dts is None else packet.dts) * packet.time_base
        file = self._files.setdefault(stream.index, 0)
        is_orderly = stream.type in ("audio", "video")  # Times of subtitles and data are less so.
        begins = self._is_joined and is_orderly and time < self._times.get(stream.index, time) - SET_BACK
        if begins:
            self._files[stream.index] = file = file + 1
            if file == len(self._shifts):  # The streams change over one after the other.
                self._shifts.append(time - self.reached)
        self._times[stream.index] = time
        shift = round(self._shifts[file] / packet.time_base)
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.pts = None if packet.pts is None else packet.pts - shift
        if packet.pts is not None:
            self.reached = max(self.reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
        return begins
