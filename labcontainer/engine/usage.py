"""Room on disk, counted as du(1) does: blocks, and a file with several names once."""

from __future__ import annotations

import os


def of_directory(path: str) -> int:
    """Bytes of all files below a directory."""
    seen: set[tuple[int, int]] = set()
    total, todo = 0, [path]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    about = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif (about.st_dev, about.st_ino) not in seen:
                        seen.add((about.st_dev, about.st_ino))
                        total += min(about.st_size, about.st_blocks * 512)
        except OSError:
            continue  # gone meanwhile
    return total
