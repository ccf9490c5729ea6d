"""The config file of compress: what it says, and what is said of one that makes no sense."""

import pytest

from darkprune.compress.config import Config
from darkprune.compress.stages import stages_of
from darkprune.errors import UsageError
from darkprune.prune.budget import Amount

MODEL = "[model]\ncfg = net.cfg\ndata = set.data\n"
OUTPUT = "[output]\nfolder = out\n"
TRAIN = "[train]\nepochs = 2\n"


@pytest.fixture
def folder(tmp_path):
    for name in ("net.cfg", "net.weights", "set.data"):
        (tmp_path / name).write_text("")
    return tmp_path


def read(folder, text):
    path = folder / "run.ini"
    path.write_bytes(text.encode("latin-1"))
    return Config.read(str(path))


def test_values_and_defaults(folder):
    config = read(
        folder,
        MODEL
        + "weights = net.weights\n; a comment\n[train]\nepochs = 2.5  # each image so often\nlearning_rate=0.01\n"
        + "steps = 100, 200\n[sparsify]\nepochs=3\nstrength=0.1\nschedule = local:0.5:0.1:0.6\n"
        + "[prune]\nbytes = 20 %\nsteps = 2\n[finetune]\nepochs = 1\ndistill = no\n[run]\nbfloat16 = yes\n"
        + OUTPUT,
    )
    assert config["model"]["cfg"] == str(folder / "net.cfg") and config.prefix == "net"
    assert (config["train"]["epochs"], config["train"].net) == (2.5, {"learning_rate": 0.01, "steps": (100, 200)})
    assert (config["sparsify"]["method"], config["sparsify"]["schedule"]) == ("proximal", "local:0.5:0.1:0.6")
    assert config["prune"]["bytes"] == Amount(0.2, True) and config["prune"]["channels"] is None
    assert config["finetune"]["distill"] is False
    assert (config["run"]["seed"], config["run"]["bfloat16"], config["run"]["device"]) == (0, True, "cpu")
    assert [stage.folder for stage in stages_of(config)] == [
        "01-train",
        "02-sparsify",
        "03-prune-1",
        "04-recalibrate-1",
        "05-finetune-1",
        "06-prune-2",
        "07-recalibrate-2",
        "08-finetune-2",
    ]


def test_stages_without_training(folder):
    text = MODEL + "weights = net.weights\n[prune]\nparameters = 1000000\nrecalibrate = 0\n" + OUTPUT
    config = read(folder, text)
    assert config["prune"]["parameters"] == Amount(1000000.0, False)
    assert [stage.folder for stage in stages_of(config)] == ["01-original", "02-prune-1"]


@pytest.mark.parametrize("text", ["constant", "global:0.5:0.1", "local:0.5:0.1:0.6", "taylor:0.1:0:0.84"])
def test_schedules_of_the_penalty(folder, text):
    sparsify = "weights = net.weights\n[sparsify]\nepochs=3\nstrength=0.1\nmethod = hoyer\nschedule = "
    config = read(folder, MODEL + sparsify + text + "\n" + OUTPUT)
    assert (config["sparsify"]["method"], config["sparsify"]["schedule"]) == ("hoyer", text)


def test_criteria_by_either_name(folder):
    text = MODEL + "weights = net.weights\n[prune]\nchannels = 0.5\n{} = l1,apoz\n" + OUTPUT
    assert [read(folder, text.format(name))["prune"]["criterion"] for name in ("score", "criterion")] == ["l1,apoz"] * 2


def line(number, text):
    return "{:5d} | {}\n".format(number, text)


CASES = [
    (
        MODEL + "[prune]\nchannels = 0.5\nscore = l1\ncriterion = l2\n" + OUTPUT,
        "run.ini:7: error: criterion is set already, under another name\n"
        + line(7, "criterion = l2")
        + "hint: leave one of them out",
    ),
    (
        MODEL + "[prune]\nchannels = 0.5\ncriterion = l3\n" + OUTPUT,
        "run.ini:6: error: criterion = l3 makes no sense\n"
        + line(6, "criterion = l3")
        + "hint: write some of gamma, l1, l2, geometric_median, similarity, lamp, gamma_next, entropy, rank, apoz, "
        + "reconstruction, taylor, random, with commas between",
    ),
    (
        MODEL + "weights = net.weights\n[prune]\nchannels = 0.5\ncriterion = l1\ncombine = union\n" + OUTPUT,
        "run.ini:8: error: one criterion has nothing to combine with\n"
        + line(8, "combine = union")
        + "hint: name several criteria, such as l1,entropy, or do not say how they combine",
    ),
    (
        MODEL + "weights = net.weights\n[prune]\nchannels = 0.5\ncriterion = l1=2,l2=1\ncombine = union\n" + OUTPUT,
        "run.ini:8: error: union takes no weights\n"
        + line(8, "combine = union")
        + "hint: use --combine weighted, or leave =W out",
    ),
    ("", "run.ini: error: there is no section [model]\nhint: add [model] with cfg = FILE and data = FILE"),
    (
        MODEL + TRAIN,
        "run.ini: error: there is no section [output]\nhint: add [output] with folder = NAME",
    ),
    (
        MODEL + "[trian]\nepochs = 2\n" + OUTPUT,
        "run.ini:4: error: [trian] is no section of this file\n" + line(4, "[trian]") + "hint: did you mean train?",
    ),
    (
        MODEL + TRAIN + "learning_rat = 1\n" + OUTPUT,
        "run.ini:6: error: learning_rat is no option of [train]\n"
        + line(6, "learning_rat = 1")
        + "hint: did you mean learning_rate?",
    ),
    (
        MODEL + "[train]\nepochs = many  # of them\n" + OUTPUT,
        "run.ini:5: error: epochs = many makes no sense\n"
        + line(5, "epochs = many  # of them")
        + "hint: write a number of epochs such as 50",
    ),
    (
        MODEL + "[train]\nepochs =\n" + OUTPUT,
        "run.ini:5: error: epochs = (nothing) makes no sense\n"
        + line(5, "epochs =")
        + "hint: write a number of epochs such as 50",
    ),
    (
        MODEL + "[train]\n" + OUTPUT,
        "run.ini:4: error: [train] has no epochs\n"
        + line(4, "[train]")
        + "hint: add a line epochs = ... (a number of epochs such as 50)",
    ),
    (
        MODEL + TRAIN + "epochs = 3\n" + OUTPUT,
        "run.ini:6: error: epochs is set twice in [train]\n" + line(6, "epochs = 3") + "hint: leave one of them out",
    ),
    (
        MODEL + TRAIN + OUTPUT + TRAIN,
        "run.ini:8: error: [train] stands here twice\n" + line(8, "[train]") + "hint: leave one of them out",
    ),
    (
        MODEL + TRAIN + "nothing\n" + OUTPUT,
        "run.ini:6: error: this line is no [section] and no key = value\n"
        + line(6, "nothing")
        + "hint: see darkprune compress --help",
    ),
    (
        "cfg = net.cfg\n",
        "run.ini:1: error: this line is no [section] and no key = value\n"
        + line(1, "cfg = net.cfg")
        + "hint: see darkprune compress --help",
    ),
    (
        MODEL.replace("net.cfg", "other.cfg") + TRAIN + OUTPUT,
        "run.ini:2: error: other.cfg is no file\n"
        + line(2, "cfg = other.cfg")
        + "hint: relative paths start at the working directory, or else at this file",
    ),
    (
        MODEL + "[prune]\nchannels = 0.5\n" + OUTPUT,
        "run.ini:1: error: there are no weights and no [train]\n" + line(1, "[model]") + "hint: add one of them",
    ),
    (
        MODEL + "weights = net.weights\n" + OUTPUT,
        "run.ini: error: there is nothing to do\nhint: add [train], [sparsify] or [prune]",
    ),
    (
        MODEL + TRAIN + "[finetune]\nepochs = 1\n" + OUTPUT,
        "run.ini:6: error: [finetune] follows pruning\n" + line(6, "[finetune]") + "hint: add [prune], or use [train]",
    ),
    (
        MODEL + TRAIN + "[prune]\nchannels = 0.5\nbytes = 9 %\n" + OUTPUT,
        "run.ini:8: error: channels and bytes both say how far to prune\n"
        + line(8, "bytes = 9 %")
        + "hint: leave one of them out",
    ),
    (
        MODEL + TRAIN + "[prune]\nmax_drop = 2\nsteps = 2\n[finetune]\nepochs = 1\n" + OUTPUT,
        "run.ini:7: error: max_drop is what may be lost behind [finetune], and nothing says how far a round prunes\n"
        + line(7, "max_drop = 2")
        + "hint: add how far to go at most and in how many rounds, such as channels = 0.9 and steps = 8",
    ),
    (
        MODEL + TRAIN + "[prune]\nsteps = 2\n" + OUTPUT,
        "run.ini:6: error: nothing says how far to prune\n"
        + line(6, "[prune]")
        + "hint: add one of channels, parameters, bflops, bytes, max_drop",
    ),
    (
        MODEL + TRAIN + "[prune]\nblocks = 1\nsteps = 2\n" + OUTPUT,
        "run.ini:8: error: all blocks go in the first round, and nothing says what goes in the others\n"
        + line(8, "steps = 2")
        + "hint: add one of channels, parameters, bflops, bytes, max_drop",
    ),
    (
        "\xe4" + MODEL,
        "run.ini: error: the config file is no plain text\nhint: save it as UTF-8",
    ),
]


@pytest.mark.parametrize("text, said", CASES)
def test_what_makes_no_sense_is_refused(folder, text, said):
    with pytest.raises(UsageError) as raised:
        read(folder, text)
    assert str(raised.value).replace(str(folder) + "/", "") == said


@pytest.mark.parametrize(
    "section, key, value",
    [
        ("prune", "channels", "1"),
        ("prune", "channels", "nan"),
        ("prune", "bytes", "100 %"),
        ("prune", "bytes", "0"),
        ("prune", "steps", "0"),
        ("prune", "absorb", "all"),
        ("sparsify", "strength", "0"),
        ("sparsify", "schedule", "global"),
        ("sparsify", "schedule", "sometimes:1:2"),
        ("finetune", "distill", "maybe"),
        ("train", "steps", "1,x"),
        ("train", "batch", "1.5"),
        ("run", "seed", "-1"),
    ],
)
def test_values_out_of_range(folder, section, key, value):
    with pytest.raises(UsageError) as raised:
        read(folder, MODEL + OUTPUT + "[{}]\n{} = {}\n".format(section, key, value))
    assert raised.value.message == "{} = {} makes no sense".format(key, value)
    assert raised.value.where.line == 7 and raised.value.hint.startswith("write ")


@pytest.mark.parametrize(
    "lines, most",
    [
        ("channels = 0.9\nmax_drop = 2.5\nsteps = 4", 2.5),
        ("max_drop = 2.5\nbytes = 10 %", 2.5),
        ("channels = 0.9", None),
        ("max_drop = 2.5", None),
        ("blocks = 1\nmax_drop = 2.5", None),
    ],
)
def test_max_drop_ends_rounds_beside_a_share_or_budget(folder, lines, most):
    assert read(folder, MODEL + TRAIN + "[prune]\n" + lines + "\n" + OUTPUT).most_lost == most


def test_a_missing_file(folder):
    with pytest.raises(UsageError, match="the config file cannot be read: No such file"):
        Config.read(str(folder / "no.ini"))
