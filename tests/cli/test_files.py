"""Files in any order, told apart by content, and those that are found beside the given ones."""

import struct

import numpy as np
import pytest

import small_nets
from darkprune.cli.arguments import Parser
from darkprune.cli.files import arrange, slots_of
from darkprune.cli.main import COMMANDS, main, parser
from darkprune.cli.sniff import by_content, by_name
from darkprune.errors import UsageError

HEADER = struct.pack("<iiiQ", 0, 2, 5, 64)
CFG = b"# a comment\n\n[net]\nwidth=16\n"
JPEG, PNG, BMP = b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"\x89PNG\r\n\x1a\n\0\0", b"BM\x36\0\0\0"

FILES = {
    "net.cfg": CFG,
    "net.weights": HEADER + 8 * b"\0",
    "other.cfg": CFG,
    "other_best.weights": HEADER + 4 * b"\0",
    "other_last.weights": HEADER,
    "obj.data": b"classes= 2\r\ntrain = train.txt\n",
    "obj.names": b"cat\ndog\n",
    "list.txt": b"images/a.jpg\nimages/b.JPG\n",
    "dog.jpg": JPEG,
    "cat.png": PNG,
    "plan.json": b'{\n "format": 1}',
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder with one file of each kind."""
    monkeypatch.chdir(str(tmp_path))
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "images").mkdir()
    return tmp_path


def command(words, *options):
    """A command with positional arguments as `CFG [WEIGHTS] IMAGE+`, and options."""
    made = Parser(prog="darkprune demo")
    for word in words.split():
        nargs = {"*": "*", "+": "+", "]": "?"}.get(word[-1])
        made.add_argument(word.strip("[]*+").lower(), metavar=word.strip("[]*+"), nargs=nargs)
    for option in options:
        made.add_argument(option)
    return made


PRUNE = ("CFG WEIGHTS", "--plan")
DETECT = ("CFG WEIGHTS IMAGE*", "--names", "--data")
USE = "hint: use darkprune demo CFG WEIGHTS"
VERIFY = ("CFG WEIGHTS [CFG2] [WEIGHTS2]", "--plan", "--image")
BENCH = ("PAIR+",)
ONE_WEIGHTS = (
    ": error: no weights were given for this cfg, and some for another\n"
    "hint: give CFG WEIGHTS for each, or only the cfgs, whose weights are looked for beside them"
)


@pytest.mark.parametrize(
    "declared, line, expected, found",
    [
        (PRUNE, "net.cfg net.weights", "-- net.cfg net.weights", ""),
        (PRUNE, "net.weights net.cfg", "-- net.cfg net.weights", ""),
        (PRUNE, "net.weights other.cfg", "-- other.cfg net.weights", ""),
        (PRUNE, "net", "-- net.cfg net.weights", "net.weights"),
        (PRUNE, "./net", "-- ./net.cfg ./net.weights", "./net.weights"),
        (PRUNE, "net.cfg", "-- net.cfg net.weights", "net.weights"),
        (PRUNE, "net.weights", "-- net.cfg net.weights", "net.cfg"),
        (PRUNE, "other", "-- other.cfg other_best.weights", "other_best.weights"),
        (PRUNE, "other_last.weights", "-- other.cfg other_last.weights", "other.cfg"),
        (PRUNE, "other_best", "-- other.cfg other_best.weights", "other.cfg"),
        (PRUNE, "plan.json net", "--plan=plan.json -- net.cfg net.weights", "net.weights"),
        (("CFG [WEIGHTS]",), "net.cfg", "-- net.cfg", ""),  # what may be left out is only sought for a stem
        (("CFG [WEIGHTS]",), "net", "-- net.cfg net.weights", "net.weights"),
        (DETECT, "dog.jpg net.weights cat.png net.cfg", "-- net.cfg net.weights dog.jpg cat.png", ""),
        (DETECT, "obj.data net.cfg net.weights dog.jpg", "--data=obj.data -- net.cfg net.weights dog.jpg", ""),
        (DETECT, "obj.names dog.jpg net", "--names=obj.names -- net.cfg net.weights dog.jpg", "net.weights"),
        (DETECT, "images list.txt net.cfg net.weights", "-- net.cfg net.weights images list.txt", ""),
        (DETECT, "net.cfg net.weights absent.jpg", "-- net.cfg net.weights absent.jpg", ""),
        (
            VERIFY,
            "other.cfg net.cfg net.weights other_best.weights",
            "-- other.cfg other_best.weights net.cfg net.weights",
            "",
        ),
        (
            VERIFY,
            "net.cfg other_best.weights other.cfg net.weights",
            "-- net.cfg other_best.weights other.cfg net.weights",
            "",
        ),
        (VERIFY, "net other", "-- net.cfg net.weights other.cfg other_best.weights", "net.weights other_best.weights"),
        (VERIFY, "dog.jpg net.cfg net.weights", "--image=dog.jpg -- net.cfg net.weights", ""),
        (
            BENCH,
            "net.cfg net.weights other.cfg other_last.weights",
            "-- net.cfg net.weights other.cfg other_last.weights",
            "",
        ),
        (
            BENCH,
            "other.cfg net.cfg",
            "-- other.cfg other_best.weights net.cfg net.weights",
            "other_best.weights net.weights",
        ),
        (
            BENCH,
            "other.cfg other_best.weights other_last.weights",
            "-- other.cfg other_best.weights other.cfg other_last.weights",
            "other.cfg",
        ),
        (BENCH, "other net", "-- other.cfg other_best.weights net.cfg net.weights", "other_best.weights net.weights"),
        (("DATA",), "obj.data", "-- obj.data", ""),
    ],
)
def test_order(folder, declared, line, expected, found):
    assert arrange(command(declared[0], *declared[1:]), line.split()) == (expected.split(), found.split())


def test_an_unknown_format_may_be_an_image(folder):
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert arrange(command(*DETECT), ["photo.heic", "net.cfg", "net.weights"])[0][-1] == "photo.heic"
    assert arrange(command(*DETECT), ["photo.heic", "net"])[0][-1] == "photo.heic"


def test_names_and_data_are_found_by_the_stem(folder):
    detect, argv = command(*DETECT), ["net", "dog.jpg"]
    (folder / "net.names").write_text("cat\n")
    assert arrange(detect, argv)[0] == "--names=net.names -- net.cfg net.weights dog.jpg".split()
    (folder / "net.data").write_text("classes=1\n")
    assert arrange(detect, argv)[0] == "--data=net.data -- net.cfg net.weights dog.jpg".split()
    assert arrange(detect, argv + ["-names", "x"])[0] == "--names=x -- net.cfg net.weights dog.jpg".split()
    assert arrange(detect, argv + ["obj.data"])[0] == "--data=obj.data -- net.cfg net.weights dog.jpg".split()


def test_the_plan_of_a_second_pair_is_found(folder):
    (folder / "other.plan.json").write_text("{}")
    words, found = arrange(command(*VERIFY), ["net", "other"])
    assert words[0] == "--plan=other.plan.json" and found[-1] == "other.plan.json"
    assert "--plan=other.plan.json" not in arrange(command(*PRUNE), ["other"])[0]
    assert arrange(command(*VERIFY), ["net", "other", "--plan", "mine.json"])[0][0] == "--plan=mine.json"


@pytest.mark.parametrize(
    "declared, line, text",
    [
        (PRUNE, "", "error: CFG and WEIGHTS are missing\n" + USE),
        (BENCH, "", "error: CFG and WEIGHTS are missing\n" + USE + " [CFG WEIGHTS]..."),
        (PRUNE, "nothing", "nothing: error: no such file\nhint: looked for nothing and nothing.cfg"),
        (
            PRUNE,
            "images",
            "images: error: found no weights for it\nhint: looked for images.weights, images_best.weights, "
            "images_final.weights, images_last.weights",
        ),
        (
            PRUNE,
            "alone.cfg",
            "alone.cfg: error: found no weights for it\nhint: looked for alone.weights, alone_best.weights, "
            "alone_final.weights, alone_last.weights; name one of alone_2000.weights, alone_3000.weights",
        ),
        (
            PRUNE,
            "stray_1000.weights",
            "stray_1000.weights: error: found no cfg for it\nhint: looked for stray_1000.cfg, stray.cfg",
        ),
        (PRUNE, "net.cfg net.weights other.cfg", "other.cfg: error: one cfg too many\n" + USE),
        (PRUNE, "net.cfg net.weights dog.jpg", "dog.jpg: error: one image too many\n" + USE),
        (PRUNE, "net.cfg net.cfg", "net.cfg: error: one cfg too many\n" + USE),
        (PRUNE, "net.cfg other.cfg net.weights", "other.cfg: error: one cfg too many\n" + USE),
        (DETECT, "net.cfg other.cfg net.weights dog.jpg", "other.cfg: error: one cfg too many\n" + USE + " IMAGE"),
        (PRUNE, "net other", "other.cfg: error: one cfg too many\n" + USE),
        (PRUNE, "net.cfg net.weights other_best.weights", "other_best.weights: error: one weights too many\n" + USE),
        (
            VERIFY,
            "net.cfg other.cfg alone.cfg net.weights",
            "alone.cfg: error: one cfg too many\n" + USE + " CFG2 WEIGHTS2",
        ),
        (BENCH, "net.cfg net.cfg net.weights", "net.cfg" + ONE_WEIGHTS),
        (BENCH, "net.cfg alone.cfg other.cfg other_best.weights", "net.cfg" + ONE_WEIGHTS),
        (PRUNE, "net.cfg net.weights absent.cfg", "absent.cfg: error: no such file\n" + USE),
        (PRUNE, "net.cfg net.weights strange", "strange: error: nothing that this command takes\n" + USE),
        (("CFG WEIGHTS IMAGE+",), "net.cfg net.weights absent", "absent: error: no such file\n" + USE + " IMAGE"),
        (
            ("CFG WEIGHTS IMAGE+",),
            "net.cfg net.weights",
            "error: IMAGE is missing\n" + USE + " IMAGE",
        ),
        (("CFG WEIGHTS IMAGE+",), "net obj.names", "obj.names: error: one list of names too many\n" + USE + " IMAGE"),
    ],
)
def test_files_that_do_not_fit(folder, declared, line, text):
    (folder / "alone.cfg").write_bytes(CFG)
    for number in (2000, 3000):
        (folder / "alone_{}.weights".format(number)).write_bytes(HEADER)
    (folder / "strange").write_bytes(b"\0\0")
    (folder / "stray_1000.weights").write_bytes(HEADER + 4 * b"\0")
    with pytest.raises(UsageError) as caught:
        arrange(command(declared[0], *declared[1:]), line.split())
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "name, data, content, end",
    [
        ("a.jpg", JPEG, "image", "image"),
        ("a.cfg", BMP, "image", "cfg"),
        ("a.png", b"", None, "image"),
        ("a", CFG, "cfg", None),
        ("a.txt", b"[cat]\n", "names", "list"),
        ("a.names", b"[cat]\n", "names", "names"),
        ("a", b"\xef\xbb\xbf\r\n ; x\r\n[network]\r\n", "cfg", None),
        ("a", HEADER + 4 * b"\0", "weights", None),
        ("a.conv.15", HEADER + 4 * b"\0", "weights", "weights"),
        ("a.backup", HEADER + 5 * b"\0", None, "weights"),
        ("a.weights", HEADER, None, "weights"),
        ("a.weights", b"PK\x03\x04" + 40 * b"\0", None, "weights"),
        ("a.data", b"# mine\nclasses = 3\n", "data", "data"),
        ("a.txt", b"x/y.jpeg\r\n", "list", "list"),
        ("a.txt", b"person\nbicycle\n", "names", "list"),
        ("a.json", b" {}", "plan", "plan"),
        ("a.bin", b"\xde\xad\0\xbe", None, None),
    ],
)
def test_sniff(tmp_path, name, data, content, end):
    path = tmp_path / name
    path.write_bytes(data)
    assert (by_content(str(path)), by_name(str(path))) == (content, end)


def test_what_is_no_file_is_not_read(tmp_path):
    assert by_content("/dev/zero") is None and by_content(str(tmp_path / "absent")) is None
    assert by_content(str(tmp_path)) == "folder"


def test_a_content_that_contradicts_the_name_is_read_by_the_reader_of_that_place(folder):
    """So that its own error says what is wrong with the file."""
    (folder / "page.weights").write_bytes(b"[net]\n")
    assert arrange(command("CFG WEIGHTS"), ["net.cfg", "page.weights"])[0] == ["--", "net.cfg", "page.weights"]


def test_every_positional_of_every_command_is_a_known_kind():
    for name, _ in COMMANDS:
        slots = slots_of(parser(name))
        assert slots is None or [s for s in slots if s.kind is None] == []
    assert [(s.name, s.kind) for s in slots_of(parser("verify"))] == [
        ("CFG", "cfg"),
        ("WEIGHTS", "weights"),
        ("CFG2", "cfg"),
        ("WEIGHTS2", "weights"),
    ]


def test_the_commands_take_swapped_files_and_a_stem(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(str(tmp_path))
    small_nets.write(tmp_path, small_nets.cfg(small_nets.conv(8), small_nets.HEAD), "net")
    assert main(["inspect", "net.cfg", "net.weights"]) == 0
    expected = capsys.readouterr()
    assert expected.err == ""
    assert main(["inspect", "net.weights", "net.cfg"]) == 0
    assert capsys.readouterr() == expected
    assert main(["inspect", "net"]) == 0
    assert capsys.readouterr() == (expected.out, "using net.weights\n")
    assert main(["prune", "-o", "out", "net", "channels=0.25", "--force"]) == 0
    assert main(["verify", "net", "out"]) == 0
    assert capsys.readouterr().err == "using net.weights\nusing net.weights out.weights out.plan.json\n"


def test_the_bytes_of_real_weights_are_weights(tmp_path):
    path = tmp_path / "real"
    path.write_bytes(HEADER + np.linspace(-1, 1, 5000).astype("<f4").tobytes())
    assert by_content(str(path)) == "weights"


def test_random_command_lines_are_arranged_or_refused(folder):
    """3,000 of them: nothing but UsageError, and what is arranged is what argparse takes."""
    random = np.random.RandomState(2)
    words = sorted(FILES) + "net other absent images . - -- -x --names -data= plan=1 names=x --image -1 a=b".split()
    words += ["", " ", "-", "\udcff.cfg", "net.cfg/x", "--plan=", "-names", "=", "--", "-=", "--="]
    made = [command(declared[0], *declared[1:]) for declared in (PRUNE, DETECT, VERIFY, BENCH, ("DATA",))]
    arranged = 0
    for _ in range(3000):
        argv = [words[index] for index in random.randint(0, len(words), random.randint(0, 7))]
        parser = made[random.randint(len(made))]
        try:
            taken, found = arrange(parser, argv)
            parser.parse_args(taken)
        except UsageError as error:
            assert str(error).startswith(("error: ", str(error).split(": error: ")[0] + ": error: "))
            continue
        assert set(found) <= set("net.cfg net.weights other.cfg other_best.weights".split())
        arranged += 1
    assert arranged > 100
