"""The `[net]` section: the image's size, and training options that are kept."""

from typing import TYPE_CHECKING, Iterator

from darkprune.darknet import values
from darkprune.ops.base import Hazard, Op, opt

if TYPE_CHECKING:
    from darkprune.graph.layer import Configured

_DARKNETS = ("alexeyab", "pjreddie")


class NetOptions(Op):
    """Options of the net itself; it is no layer."""

    names = ("net", "network")
    options = (
        opt("width", "int", 0, 416, low=0),
        opt("height", "int", 0, 416, low=0),
        opt("channels", "int", 0, 3, low=0),
        opt("inputs", "int", 0, low=0),
        opt("letter_box", "int", 0, only="alexeyab"),  # how an image is fitted; no shape depends on it
    )
    passive = (
        "batch subdivisions sequential_subdivisions time_steps track augment_speed notruth random learning_rate "
        "learning_rate_min momentum decay policy burn_in power step scale steps scales seq_scales gamma max_batches "
        "sgdr_cycle sgdr_mult adam B1 B2 eps max_crop min_crop max_ratio min_ratio center clip flip angle aspect "
        "saturation exposure hue blur gaussian_noise mixup cutmix mosaic mosaic_bound contrastive "
        "contrastive_jit_flip contrastive_color unsupervised label_smooth_eps resize_step attention adversarial_lr "
        "max_chart_loss try_fix_nan weights_reject_freq equidistant_point badlabels_rejection_percentage "
        "num_sigmas_reject_badlabels ema_alpha use_cuda_graph loss_scale dynamic_minibatch optimized_memory "
        "workspace_size_limit_MB show_receptive_field"
    )

    def hazards(self, config: "Configured") -> Iterator[Hazard]:
        """What Darknet crashes on, even where it does not train."""
        batch, parts = _whole(config, "batch"), _whole(config, "subdivisions")
        if parts == 0:
            for reader in _DARKNETS:
                yield Hazard(reader, "subdivisions", "divides by subdivisions, which is 0")
        elif min(batch, parts) < 1 or batch < parts:
            yield Hazard("pjreddie", "batch", "crashes unless batch is at least subdivisions, and both at least 1")
        steps, scales = (values.elements(config.text(key) or "") for key in ("steps", "scales"))
        if config.text("policy") == "steps" and len(steps) > len(scales):
            for reader in _DARKNETS:
                yield Hazard(reader, "scales", "crashes where there are fewer scales than steps")
        pixels = config["width"] * config["height"] * config["channels"]
        if pixels and config["inputs"] not in (0, pixels):
            for reader in _DARKNETS:
                yield Hazard(reader, "inputs", "takes inputs for the length of the image, {} values".format(pixels))


def _whole(config: "Configured", key: str) -> int:
    try:
        return values.atoi(config.text(key) or "1")
    except ValueError:  # more than 32 bits: nobody's default is near
        return 1
