"""The class of an image for a classifier: the one whose label occurs in the image's path, as in Darknet.

Source of the rule: fill_truth in Darknet's data.c.
"""

import os
from typing import List, Optional

from darkprune.data.image_list import Image
from darkprune.data.problems import Problems
from darkprune.errors import place


def find_classes(
    images: List[Image], labels: List[str], source: str, problems: Optional[Problems] = None
) -> List[Optional[int]]:
    """The class of each image; where several labels occur in its path the first, where none does None.

    The path is taken as the list names it, so that the folder the list lies in plays no part.

    Args:
        labels: the lines of the file that `labels=` names.
        source: the list, for messages.
        problems: collects paths in which not just one label occurs. Without it they are an error.
    """
    found = Problems() if problems is None else problems
    encoded = [label.encode("utf-8", "surrogateescape") for label in labels]
    classes = []
    for image in images:
        path = os.fsencode(image.written)
        matches = [n for n, label in enumerate(encoded) if label in path]
        if len(matches) != 1:
            _report(image, [labels[n] for n in matches], source, found)
        classes.append(matches[0] if matches else None)
    if problems is None:
        found.settle()
    return classes


def _report(image: Image, names: List[str], source: str, problems: Problems) -> None:
    where = place(source, image.line, image.written) if image.line else place(image.path)
    if not names:
        hint = "the class is the line of the labels file that occurs in the path"
        problems.add("image without a class", "no label occurs in this path", where, hint)
        return
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    cause = "{} labels occur in this path: {}".format(len(names), some)
    problems.add("image with several classes", cause, where, "rename the image or its folder, or the labels")
