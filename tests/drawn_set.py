"""A small data set for tests of training: rectangles of two colours on grey, as files that Darknet reads."""

import numpy as np

from darkprune.graph.build import load

CLASSES = ((200, 40, 40), (40, 60, 200))  # RGB


def write(folder, images=8, size=40, seed=0):
    """Writes images, labels and drawn.data; returns the path of that."""
    import cv2

    random, names = np.random.RandomState(seed), []
    for number in range(images):
        pixels, lines = np.full((size, size, 3), 120, np.uint8), []
        for _ in range(random.randint(1, 3)):
            label = random.randint(len(CLASSES))
            w, h = random.randint(size // 4, size // 2, 2)
            x, y = random.randint(0, size - w), random.randint(0, size - h)
            pixels[y : y + h, x : x + w] = CLASSES[label]
            box = ((x + w / 2) / size, (y + h / 2) / size, w / size, h / size)
            lines.append("{} {:.6f} {:.6f} {:.6f} {:.6f}\n".format(label, *box))
        names.append(str(folder / "{}.png".format(number)))
        assert cv2.imwrite(names[-1], pixels[:, :, ::-1])
        (folder / "{}.txt".format(number)).write_text("".join(lines))
    (folder / "list.txt").write_text("".join(name + "\n" for name in names))
    (folder / "drawn.names").write_text("red\nblue\n")
    text = "classes = 2\ntrain = {0}/list.txt\nvalid = {0}/list.txt\nnames = {0}/drawn.names\n".format(folder)
    (folder / "drawn.data").write_text(text + "backup = {}/backup\n".format(folder))
    return str(folder / "drawn.data")


def arrays(cfg, weights):
    """All floats of a pair."""
    net = load(str(cfg), str(weights))
    return np.concatenate([layer.array(spec.name).ravel() for layer, spec in net.specs()])
