"""Edits of a net: each function takes a net and gives a new one; the net it was given stays as it is.

What the user should know about an edit is a notice of the new net. Raised errors leave nothing behind.
"""

from darkprune.edit.classes import set_classes
from darkprune.edit.fuse_bn import fuse_batch_norm
from darkprune.edit.header import cut, set_seen
from darkprune.edit.options import set_options
from darkprune.edit.resize import resize

__all__ = ["cut", "fuse_batch_norm", "resize", "set_classes", "set_options", "set_seen"]
