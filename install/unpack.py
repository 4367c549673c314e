"""A 7z archive, whole or in parts, into a folder, for app_unpack of lib.sh.

    venv/bin/python unpack.py ARCHIVE FOLDER

in a venv that has install/py7zr.lock. ARCHIVE is a.7z, or a.7z.001, beside which a.7z.002 and so on
lie. Links out of the folder are refused, and every file is checked by the sum that the archive has
of it.
"""

import glob
import os
import sys

import multivolumefile
import py7zr


def main(archive, folder):
    try:
        if archive.endswith(".001"):
            check_parts(archive[:-4])
            with multivolumefile.MultiVolume(archive[:-4], "rb") as parts:
                unpack(parts, folder)
        else:
            unpack(archive, folder)
    except Exception as error:  # noqa: BLE001 - of damaged ones, as many kinds as there are filters
        sys.exit(f"{os.path.basename(archive)} cannot be unpacked: {error or type(error).__name__}")


def check_parts(name):
    """Nothing else lies there, and none of them is missing. Raises ValueError."""
    there = sorted(path[len(name) + 1 :] for path in glob.glob(glob.escape(name) + ".*"))
    wanted = [f"{number:03}" for number in range(1, len(there) + 1)]
    if there != wanted:
        raise ValueError(f"its parts are {', '.join(there)}, not {', '.join(wanted)}")


def unpack(archive, folder):
    with py7zr.SevenZipFile(archive) as opened:
        opened.extractall(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
