"""Keeps what libraries written in C and C++ write to stderr, and shows it when they end the process.

A process of its own, which `command_line.prepare_imports` starts: it reads the output from a pipe, and after an
abort it is still there to say why. It imports next to nothing, so that it starts in milliseconds.
"""

import collections
import re
import sys

# Comes last from a process that ends as Python processes do.
DONE = b"\0done\n"
LINES = 20
LONGEST = 2000
# TensorFlow's reports that are not about an error: "I0000 00:00:17...", "2026-01-31 10:00:00.5: W tensorflow/...". It
# also calls it an error that there is no GPU.
REPORT = re.compile(
    rb"[IW]\d{4} |\d{4}-\d\d-\d\d \S+ [IW] |WARNING: All log messages before absl|To enable the following instr|"
    rb"E\d{4} .*failed call to cuInit"
)


def main():
    lines = collections.deque(maxlen=LINES)
    for line in iter(lambda: sys.stdin.buffer.readline(LONGEST), b""):
        if line == DONE:
            return
        if not REPORT.match(line):
            lines.append(line)
    if lines:
        heading = b"The process ended without a message of its own. What its libraries said last:\n"
        sys.stderr.buffer.write(heading + b"".join(lines))


if __name__ == "__main__":
    main()
