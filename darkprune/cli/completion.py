"""Prints a script by which a shell completes darkprune's commands, options, choices and files.

For bash, add this line to ~/.bashrc; for zsh, with zsh, to ~/.zshrc behind compinit:
    eval "$(darkprune completion bash)"
"""

import argparse
from typing import Any, Dict, Iterable, List, Mapping, Tuple

from darkprune.cli.arguments import long_options
from darkprune.cli.common import write
from darkprune.cli.darknet_commands import VERBS

_SCRIPT = """\
_darkprune() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}" options="" words=""
  COMPREPLY=()
  case "$command ${{COMP_WORDS[2]}}" in
{verbs}
  esac
  if [[ $COMP_CWORD == 1 ]]; then
    words="{commands} --help --version"
  else
    case "$command ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
    esac
    case "$command" in
{options}
    esac
    case "$current" in
      --*) words="$options" ;;
      -*) words="${{options//--/-}}" ;;
    esac
  fi
  if [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}}
complete -o default -F _darkprune darkprune
"""
_ZSH = "autoload -Uz bashcompinit && bashcompinit\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")


def run(arguments: argparse.Namespace) -> int:
    """Carries out the command; returns the exit status."""
    from darkprune.cli.main import COMMANDS, parser

    text = script({name: parser(name) for name, _ in COMMANDS}, VERBS)
    write((_ZSH if arguments.shell == "zsh" else "") + text)
    return 0


def script(parsers: Dict[str, argparse.ArgumentParser], families: Mapping[str, Mapping[str, Any]]) -> str:
    """The script for commands by name, and for those of two words; a word after one dash is completed too, as
    Darknet's users type it."""
    options: List[Tuple[str, Iterable]] = []
    choices: List[Tuple[str, Iterable]] = [("{0} {0}".format(name), verbs) for name, verbs in families.items()]
    for name, parser in parsers.items():
        found = {option: a for a in long_options(parser).values() for option in a.option_strings}
        actions = sorted((option, action) for option, action in found.items() if option.startswith("--"))
        options.append((name, [option for option, _ in actions]))
        for option, action in actions:
            if action.choices is not None:
                choices.append(("{0} --{1}|{0} -{1}".format(name, option[2:]), action.choices))
        for action in parser._actions:
            if not action.option_strings and action.choices is not None:
                choices.append(("{0} {0}".format(name), action.choices))
    verbs = [
        ("{} {}".format(family, verb), [families[family][verb].command])
        for family in families
        for verb in families[family]
    ]
    return _SCRIPT.format(
        commands=" ".join(list(parsers) + list(families)),
        verbs=_cases("command", verbs),
        choices=_cases("words", choices),
        options=_cases("options", options),
    )


def _cases(variable: str, cases: Iterable[Tuple[str, Iterable]]) -> str:
    lines: List[str] = []
    for pattern, words in cases:
        quoted = "|".join('"{}"'.format(part) for part in pattern.split("|"))
        lines.append('      {}) {}="{}" ;;'.format(quoted, variable, " ".join(str(word) for word in words)))
    return "\n".join(lines)
