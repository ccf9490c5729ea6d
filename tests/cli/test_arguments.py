"""Darknet's spelling of options, and what is said about options and commands that do not exist."""

import pytest

from darkprune.cli.arguments import Parser, split
from darkprune.cli.main import COMMANDS, main, parser
from darkprune.errors import UsageError


@pytest.fixture
def demo():
    """A parser with one option of each form."""
    demo = Parser(prog="darkprune demo")
    demo.add_argument("cfg", metavar="CFG")
    demo.add_argument("-o", "--output", metavar="OUT")
    demo.add_argument("--thresh", type=float)
    demo.add_argument("--iou-thresh", type=float)
    demo.add_argument("--letterbox", action="store_true")
    demo.add_argument("--dont-show", action="store_true")
    demo.add_argument("--runners", nargs="+")
    demo.add_argument("--log", nargs="?")
    demo.add_argument("--set", action="append")
    demo.add_argument("--range", nargs=2)
    return demo


@pytest.mark.parametrize(
    "line, options, files",
    [
        ("--thresh .25 a", "--thresh=.25", "a"),
        ("-thresh .25 a", "--thresh=.25", "a"),
        ("a -thresh=.25 b", "--thresh=.25", "a b"),
        ("a thresh=.25 b", "--thresh=.25", "a b"),
        ("a -iou_thresh 0.5", "--iou-thresh=0.5", "a"),
        ("a --iou_thresh 0.5", "--iou-thresh=0.5", "a"),
        ("a iou_thresh=.5", "--iou-thresh=.5", "a"),
        ("-letter_box -dont_show a", "--letterbox --dont-show", "a"),
        ("--letter-box --DONT_SHOW a", "--letterbox --dont-show", "a"),
        ("-o out a", "--output=out", "a"),
        ("-o=out a", "--output=out", "a"),
        ("-output out a", "--output=out", "a"),
        ("-thresh -1 a", "--thresh=-1", "a"),
        ("-thresh -1e-3 a", "--thresh=-1e-3", "a"),
        ("-o thresh=1 a", "--output=thresh=1", "a"),
        ("--set 3:activation=relu -set net:batch=1 a", "--set=3:activation=relu --set=net:batch=1", "a"),
        ("a --runners numpy opencv -o b c", "--runners numpy opencv --output=b", "a c"),
        ("-log x a", "--log x", "a"),
        ("-log -letter_box a", "--log --letterbox", "a"),
        ("-range 1 2 a", "--range 1 2", "a"),
        ("-- -thresh x", "", "-thresh x"),
        ("- a", "", "- a"),
        ("a letterbox=1 other=2", "", "a letterbox=1 other=2"),
        ("-h", "--help", ""),
    ],
)
def test_split(demo, line, options, files, tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    assert split(demo, line.split()) == (options.split(), files.split())


def test_an_existing_file_is_no_setting(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(str(tmp_path))
    assert split(demo, ["thresh=1"]) == (["--thresh=1"], [])
    (tmp_path / "thresh=1").write_text("")
    assert split(demo, ["thresh=1"]) == ([], ["thresh=1"])


@pytest.mark.parametrize(
    "argv, text",
    [
        (["--tresh", "1"], "error: unknown option --tresh\nhint: did you mean --thresh?"),
        (["-tresh=1"], "error: unknown option -tresh\nhint: did you mean --thresh?"),
        (["-dontshw"], "error: unknown option -dontshw\nhint: did you mean --dont-show?"),
        (["--iou"], "error: unknown option --iou\nhint: see darkprune demo --help"),  # never guessed from a beginning
        (["-out", "x"], "error: unknown option -out\nhint: did you mean --output?"),  # and not -o ut
        (["-x"], "error: unknown option -x\nhint: see darkprune demo --help"),
        (["--quantum"], "error: unknown option --quantum\nhint: see darkprune demo --help"),
    ],
)
def test_unknown_options(demo, argv, text):
    with pytest.raises(UsageError) as caught:
        split(demo, argv)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "argv, text",
    [
        (["inspekt", "a.cfg"], "error: unknown command inspekt\nhint: did you mean inspect?\n"),
        (
            ["squash"],
            "error: unknown command squash\nhint: use {}, detector, classifier\n".format(
                ", ".join(name for name, _ in COMMANDS)
            ),
        ),
        (["--versoin"], "error: unknown option --versoin\nhint: did you mean --version?\n"),
        (["inspect", "a.cfg", "--dialekt"], "error: unknown option --dialekt\nhint: did you mean --dialect?\n"),
        (
            ["inspect", "a.cfg", "--dialect"],
            "error: --dialect: expected one argument\nhint: see darkprune inspect --help\n",
        ),
        (
            ["inspect", "a.cfg", "-dialect", "opencf"],
            "error: opencf is none of the choices of --dialect\nhint: did you mean opencv?\n",
        ),
        (
            ["inspect", "a.cfg", "dialect=torch"],
            "error: torch is none of the choices of --dialect\nhint: use alexeyab, opencv, pjreddie\n",
        ),
        (
            ["inspect", "a.cfg", "--json=1"],
            "error: --json: ignored explicit argument '1'\nhint: see darkprune inspect --help\n",
        ),
    ],
)
def test_what_the_program_says(argv, text, capsys):
    assert main(argv) == 2
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize("name", [name for name, _ in COMMANDS])
def test_every_command_has_names_that_stay_apart(name):
    """No two long options of a command become one name when `-` and `_` go."""
    names = [n for n in parser(name)._option_string_actions if n.startswith("--")]
    assert len({n.replace("-", "") for n in names}) == len(names) >= 1
