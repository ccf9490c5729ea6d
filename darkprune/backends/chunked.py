"""Another backend's primitives on more images than fit through it at once: a tensor is a list of that backend's."""

import mmap
import tempfile
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from darkprune.backends.base import Builder, Tensor
from darkprune.errors import OutputError

if TYPE_CHECKING:
    from darkprune.graph.layer import Layer

ARRAYS = ("array", "binarised", "source_factors")  # what gives arrays of parameters, the same for all images
Convert = Callable[[Any], Any]

LIMIT = 2**27  # bytes; what all images together fill beyond it lies in a temporary file


class Chunks:
    """The tensor of all images: `parts` are those of its chunks, in order."""

    __slots__ = ("parts", "images")

    def __init__(self, parts: List[Tensor], images: int) -> None:
        self.parts = parts
        self.images = images

    def __len__(self) -> int:
        return self.images

    @property
    def shape(self) -> Tuple[int, ...]:
        """[N,C,H,W]."""
        return (self.images,) + tuple(self.parts[0].shape[1:])

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


class ChunkedBuilder(Builder):
    """Runs the primitives of `inner` on one chunk of images after the other.

    As every primitive is done for all images before the next one starts, a subclass can look at a tensor of all of
    them. Tensors that are large for all images together are kept in temporary files.

    Args:
        enter, leave: from numpy float32 to a tensor of `inner`, and back; None where they are the same.
    """

    def __init__(self, inner: Builder, enter: Optional[Convert] = None, leave: Optional[Convert] = None) -> None:
        super(ChunkedBuilder, self).__init__(inner.dialect.name)
        self.inner = inner
        self.backend = inner.backend
        self.enter = enter or _same
        self.leave = leave or _same
        self.counts: List[int] = []

    def chunks(self, batches: Iterable[np.ndarray], count: int) -> Chunks:
        """The tensor of `count` images that come as float32 arrays [n,C,H,W]."""
        parts = []
        for batch in batches:
            self.counts.append(len(batch))
            parts.append(self._kept(self.enter(batch), len(batch), count))
        self.images = sum(self.counts)
        return Chunks(parts, self.images)

    def array(self, layer: "Layer", name: str) -> Any:
        return self.inner.array(layer, name)

    def binarised(self, weight: Any) -> Any:
        return self.inner.binarised(weight)

    def source_factors(self, weights: Any, normalization: str) -> Any:
        return self.inner.source_factors(weights, normalization)

    def each(self, name: str, *arguments: Any, **options: Any) -> Chunks:
        """The primitive `name` on every chunk."""
        self.inner.layer = self.layer
        primitive, parts = getattr(self.inner, name), []
        for number, count in enumerate(self.counts):
            self.inner.images = count
            mine = [self._part(x, number) for x in arguments]
            y = primitive(*mine, **{key: self._part(x, number) for key, x in options.items()})
            parts.append(self._kept(y, count, self.images))
        return Chunks(parts, self.images)

    def _kept(self, y: Tensor, count: int, images: int) -> Tensor:
        floats = 1
        for length in y.shape:
            floats *= int(length)
        return in_file(self.leave(y)) if 4 * floats // count * images > LIMIT else y

    def _part(self, value: Any, number: int) -> Any:
        """What chunk `number` is given in place of an argument that holds tensors of all."""
        if isinstance(value, Chunks):
            part = value.parts[number]
            return self.enter(part) if isinstance(part, np.ndarray) else part
        if isinstance(value, (list, tuple)) and any(isinstance(item, Chunks) for item in value):
            return [self._part(item, number) for item in value]
        return value

    def values(self, x: Chunks) -> Iterator[np.ndarray]:
        """The chunks of a tensor as float32 numpy arrays [n,C,H,W]."""
        for part in x.parts:
            yield part if isinstance(part, np.ndarray) else self.leave(part)


def in_file(array: np.ndarray) -> np.ndarray:
    """A copy in a temporary file, which goes when the array does. Raises OutputError for a full disk."""
    try:
        with tempfile.TemporaryFile(prefix="darkprune-") as stream:
            np.ascontiguousarray(array).tofile(stream)
            stream.flush()
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise OutputError(
            "cannot keep the maps of all images in {}: {}".format(tempfile.gettempdir(), error.strerror),
            hint="set TMPDIR to a folder with more room, or give fewer images",
        ) from error
    return np.frombuffer(mapped, array.dtype).reshape(array.shape)


def _same(x: Any) -> Any:
    return x


def _chunk_by_chunk(name: str) -> Callable[..., Chunks]:
    def method(self: ChunkedBuilder, *arguments: Any, **options: Any) -> Chunks:
        return self.each(name, *arguments, **options)

    method.__name__, method.__doc__ = name, getattr(Builder, name).__doc__
    return method


for _name in [name for name in vars(Builder) if not name.startswith("_")]:
    if callable(getattr(Builder, _name)) and _name not in ("unsupported",) + ARRAYS:
        setattr(ChunkedBuilder, _name, _chunk_by_chunk(_name))
