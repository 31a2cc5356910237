"""Keep vectors in a file without end, and say how many are written after each group."""

import sys
from pathlib import Path

from milvane.serving.caching.keys import make_keys
from milvane.serving.caching.sqlite_file import VectorFile

GROUP = 50

file = VectorFile(Path(sys.argv[1]), 4 * 1024 * 1024)
number = int(sys.argv[2])
while True:
    names = [str(each).encode() for each in range(number, number + GROUP)]
    keys = make_keys("", "", names)
    vectors = [
        name.ljust(1536 + 8 * (int(name) % GROUP), b".") for name in names
    ]  # some with terms
    file.write(dict(zip(keys, vectors, strict=True)))
    number += GROUP
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
