"""Which type each layer of an engine computes in: one policy for typed networks and for those that follow flags."""

from typing import TYPE_CHECKING, Any, FrozenSet, Iterable, List, Optional

from darkprune.backends.tensorrt_api import FP16, FP32, INT8
from darkprune.errors import UsageError

if TYPE_CHECKING:
    from darkprune.quant.quantization import Quantization

NAMES = (FP32, FP16, INT8)


class Precision(object):
    """fp32, fp16 or int8, and what differs from it.

    Args:
        name: what was asked for.
        keep_float: layers that compute in fp32 though others compute in fp16.
        quantization: for int8, which layers those are and what their integers are.
        half: whether layers that are not int8 compute in fp16; by default they do, unless all is fp32.

    Typed networks: each layer's values are cast to its type where it reads them; an int8 layer's own floats (biases,
    what lies between two roundings) are fp32. Elsewhere: float layers have their type as `layer.precision`, int8 layers
    none, and every tensor has a range. Outputs are fp32 in both.

    Raises UsageError where the parts contradict each other.
    """

    def __init__(
        self,
        name: str,
        keep_float: Iterable[int] = (),
        quantization: Optional["Quantization"] = None,
        half: Optional[bool] = None,
    ) -> None:
        if name not in NAMES:
            raise UsageError("there is no precision {!r}".format(name[:40]), hint="use " + ", ".join(NAMES))
        if (name == INT8) != (quantization is not None):
            hint = "calibrate first, or use fp16" if name == INT8 else "use int8"
            raise UsageError("ranges are used by int8, and by nothing else", hint=hint)
        self.name = name
        self.half = name != FP32 if half is None else half
        self.keep_float: FrozenSet[int] = frozenset(keep_float)
        self.quantization = quantization
        both = self.keep_float & self._int8
        if both:
            cause = "layer {} is to stay float and to be int8".format(min(both))
            raise UsageError(cause, hint="leave it out of one of both")

    @property
    def _int8(self) -> FrozenSet[int]:
        return frozenset(() if self.quantization is None else self.quantization.policy.int8)

    def of(self, index: Optional[int]) -> str:
        """The type of a layer by its number: "fp32", "fp16" or "int8"; of no layer: fp32."""
        if index in self._int8:
            return INT8
        return FP16 if self.half and index is not None and index not in self.keep_float else FP32

    def real(self, index: Optional[int]) -> str:
        """The type of a layer's floats: as `of`, but fp32 for an int8 layer."""
        found = self.of(index)
        return FP32 if found == INT8 else found

    def flags(self, api: Any) -> List[Any]:
        """The BuilderFlags that a network without types needs; none for a typed one."""
        if api.strong:
            return []
        known = api.trt.BuilderFlag
        found = [known.FP16] if self.half else []
        found += [known.INT8] if self.name == INT8 else []
        if found:
            found.append(getattr(known, "PREFER_PRECISION_CONSTRAINTS", None) or known.STRICT_TYPES)
        return found
