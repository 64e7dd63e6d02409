"""Looks at a line as often as it can, until it is told to stop: watch.py VALUE-FILE OUTPUT

The file is empty as soon as it looks; in the end it has the levels that were seen, one after the other, and how
often it looked.
"""

import os
import signal
import sys

stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
line = os.open(sys.argv[1], os.O_RDONLY)
levels, looks = [], 0
open(sys.argv[2], "w").close()
while not stopped:
    level = os.pread(line, 8, 0).decode().strip()
    looks += 1
    if levels[-1:] != [level]:
        levels.append(level)
with open(sys.argv[2], "w") as output:
    print(" ".join(levels), looks, sep="\n", file=output)
