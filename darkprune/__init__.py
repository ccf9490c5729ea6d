"""darkprune: prunes Darknet `.cfg`/`.weights` pairs into smaller drop-in pairs.

net = darkprune.load("yolov3.cfg", "yolov3.weights")
pruned = darkprune.prune(net, channels=0.6)
darkprune.save(pruned.net, "yolov3-pruned")
"""

from darkprune.errors import DarkpruneError
from darkprune.graph.build import load
from darkprune.graph.save import save
from darkprune.prune.apply_plan import apply_plan
from darkprune.prune.pipeline import prune
from darkprune.version import __version__

__all__ = ["DarkpruneError", "__version__", "apply_plan", "load", "prune", "save"]
