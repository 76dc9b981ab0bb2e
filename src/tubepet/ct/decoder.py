"""Decode JPEG with GDCM in a process of its own, because damaged JPEG can crash GDCM.

``python -m tubepet.ct.decoder`` reads paths from standard input, one DICOM file of one frame per
line. It writes the array beside the file (NAME.npy) and answers "done", or why it cannot.
"""

import resource
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

MAX_BYTES = 1 << 32  # of address space; a frame of the largest size takes a fraction


def main() -> None:
    """Decode until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        path = Path(line.removesuffix("\n"))
        try:
            image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
            np.save(path.with_suffix(".npy"), sitk.GetArrayFromImage(image), allow_pickle=False)
        except Exception as error:
            print("refused:", str(error).splitlines()[-1][:200], flush=True)
        else:
            print("done", flush=True)


if __name__ == "__main__":
    main()
