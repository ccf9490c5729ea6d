"""One split of a data set as a whole: its images with what is to be seen in them."""

from typing import List, NamedTuple, Optional

from darkprune.data import image_classes, image_list, labels
from darkprune.data.data_file import DataFile
from darkprune.data.labels import Truth
from darkprune.data.problems import Problems

DetectionSet = NamedTuple(
    "DetectionSet",
    [
        ("images", List[str]),  # paths
        ("truths", List[Truth]),  # of each image
        ("names", List[str]),  # of each class
    ],
)

ClassificationSet = NamedTuple(
    "ClassificationSet",
    [
        ("images", List[str]),  # paths
        ("classes", List[int]),  # of each image
        ("names", List[str]),  # of each class, for people
    ],
)


def read_detection(data: DataFile, split: str = "valid", problems: Optional[Problems] = None) -> DetectionSet:
    """The images that a setting of the .data file lists, with their labels.

    Args:
        split: the setting: valid, train, test...
        problems: collects what is wrong with lists and labels; without it they are an error, all together.

    Raises UsageError for whatever leaves nothing to go on with.
    """
    found = Problems() if problems is None else problems
    names = data.read_names()
    images = image_list.read(data.require(split), found)
    truths = [labels.read_of_image(image, len(names), found) for image in images]
    if problems is None:
        found.settle()
    return DetectionSet(images, truths, names)


def read_classification(data: DataFile, split: str = "valid", problems: Optional[Problems] = None) -> ClassificationSet:
    """The images that a setting of the .data file lists, with the class that each image's path names.

    Images without a class are left out; of more names than classes the first ones count. Arguments and errors are
    those of `read_detection`.
    """
    found = Problems() if problems is None else problems
    words = data.read_names("labels", "names", surplus=True)
    names = data.read_names(surplus=True)
    source = data.require(split)
    images = image_list.read_images(source, found)
    classes = image_classes.find_classes(images, words, source, found)
    if problems is None:
        found.settle()
    pairs = [(image.path, index) for image, index in zip(images, classes) if index is not None]
    return ClassificationSet([path for path, _ in pairs], [index for _, index in pairs], names)
