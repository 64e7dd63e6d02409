"""Prints the level of a GPIO line of the emulated board as the processor has it: level.py MONITOR LINE"""

import re
import socket
import sys

GPLEV0 = 0x20200034

with socket.socket(socket.AF_UNIX) as monitor:
    monitor.settimeout(20)
    monitor.connect(sys.argv[1])
    said = b""
    while said.count(b"(qemu)") < 1:
        said += monitor.recv(4096)
    monitor.sendall(b"xp /1wx %#x\n" % GPLEV0)
    while not (found := re.search(rb"%08x: (0x[0-9a-f]{8})" % GPLEV0, said)):
        said += monitor.recv(4096)
print(int(found[1], 16) >> int(sys.argv[2]) & 1)
