"""Lists of images: a text file with one path a line, a folder of images, or a single image."""

import os
from typing import List, NamedTuple, Optional

from darkprune.data.problems import Problems
from darkprune.data.text import read_lines, resolve
from darkprune.errors import UsageError, place

MAX_BYTES = 256 << 20
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp")

Image = NamedTuple(
    "Image",
    [
        ("path", str),  # an existing file
        ("written", str),  # as the list names it; a classifier's class stands in this text
        ("line", Optional[int]),  # 1-based line of the list
    ],
)


def read(path: str, problems: Optional[Problems] = None) -> List[str]:
    """The paths of the images, as `read_images` finds them."""
    return [image.path for image in read_images(path, problems)]


def read_images(path: str, problems: Optional[Problems] = None) -> List[Image]:
    """The images of a list, of a folder (sorted by name), or the image `path` itself.

    Relative paths start at the working directory, as in Darknet, or else at the list.

    Args:
        problems: collects the images that do not exist; they are left out. Without it they are an error.

    Raises UsageError for a list that cannot be read, and for one without images.
    """
    path = str(path)
    if os.path.isdir(path):
        return _folder(path)
    if _is_image(path) and os.path.isfile(path):
        return [Image(path, path, None)]
    found = Problems() if problems is None else problems
    images = _list(path, found)
    if problems is None and len(found):
        raise found.error(ignorable=False)
    if not images:
        raise UsageError("none of the images in this list exists", place(path), "check the working directory")
    return images


def _list(path: str, problems: Problems) -> List[Image]:
    lines = read_lines(path, "the list of images", MAX_BYTES)
    if not lines:
        raise UsageError("this list names no images", place(path), "write one path a line")
    folder, images = os.path.dirname(path), []
    for number, line in lines:
        written = os.fsdecode(line)
        image = resolve(written, folder)
        if image is None or os.path.isdir(image):
            cause = "this image does not exist" if image is None else "this is a folder, not an image"
            hint = "relative paths start at the working directory, or else at the list"
            problems.add("missing image", cause, place(path, number, written), hint)
        else:
            images.append(Image(image, written, number))
    return images


def _folder(path: str) -> List[Image]:
    try:
        names = sorted(name for name in os.listdir(path) if _is_image(name))
    except OSError as error:
        raise UsageError("cannot read this folder: {}".format(error.strerror), place(path), "check it") from error
    paths = [os.path.join(path, name) for name in names]
    images = [Image(path, path, None) for path in paths if os.path.isfile(path)]
    if not images:
        raise UsageError("no images in this folder", place(path), "images end in {}".format(" ".join(SUFFIXES)))
    return images


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
