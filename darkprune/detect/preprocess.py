"""From an image file to the batch a net takes."""

import numpy as np

from darkprune.errors import MissingDependency, UsageError, place


def load_image(path: str, width: int, height: int, channels: int = 3) -> np.ndarray:
    """float32 [1, channels, height, width], RGB, 0..1, stretched to size as Darknet does.

    Raises MissingDependency without OpenCV, UsageError for a file that is not there or no image.
    """
    try:
        import cv2
    except ImportError:
        raise MissingDependency("reading an image needs OpenCV", hint='pip install "opencv-python>=4.1,<5"') from None
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        with open(str(path), "rb") as stream:
            data = np.frombuffer(stream.read(), np.uint8)
    except OSError as error:
        raise UsageError("cannot read the image: {}".format(error.strerror), place(path), "check the path") from error
    pixels = cv2.imdecode(data, flag) if data.size else None
    if pixels is None:
        raise UsageError("cannot read the image", place(path), "give a JPEG, PNG or BMP file")
    if channels not in (1, 3):
        raise UsageError("the net takes {} channels, an image has 1 or 3".format(channels))
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    if channels == 3:
        pixels = pixels[:, :, ::-1]
    batch = pixels.reshape(height, width, channels).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(batch, np.float32) / np.float32(255)
