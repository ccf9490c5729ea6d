"""The `[net]` section: the image's size, and training options that are kept."""

from darkprune.ops.base import Op, opt


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
