"""Numbers and lists read from cfg text exactly as Darknet's C code reads them (`atoi`, `atof`, comma lists)."""

import re
from typing import List, Tuple

_INT = re.compile(r"[+-]?\d+")
_FLOAT = re.compile(
    r"[+-]?(?:0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?\d+)?"
    r"|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|[nN][aA][nN])"
)
INT_MAX = 2**31 - 1


def strip(line: str) -> str:
    """The line without any space, tab, carriage return or newline, also inside names and values."""
    return line.replace(" ", "").replace("\t", "").replace("\n", "").replace("\r", "")


def atoi(text: str) -> int:
    """C's `atoi`: an optional sign and digits at the start, 0 where there are none; `8.0` and `8#x` are 8.

    Raises ValueError when the number does not fit a C int, where C's result is undefined.
    """
    found = _INT.match(text)
    if not found:
        return 0
    if len(found.group()) > 12 or abs(int(found.group())) > INT_MAX:
        raise ValueError("{} does not fit a 32-bit integer".format(found.group()[:24]))
    return int(found.group())


def atof(text: str) -> float:
    """C's `atof`: the longest number at the start (decimal, hexadecimal, inf, nan), 0.0 where there is none."""
    found = _FLOAT.match(text)
    if not found:
        return 0.0
    word = found.group()
    return float.fromhex(word) if "x" in word.lower() else float(word)


def elements(text: str) -> List[str]:
    """The elements of a comma list as Darknet counts them: a trailing comma adds an empty one, which reads as 0.

    A comment behind the list ends it.
    """
    for mark in "#;":
        text = text.split(mark, 1)[0]
    return text.split(",")


def int_list(text: str) -> Tuple[int, ...]:
    """A comma list of C ints. Raises ValueError like `atoi`."""
    return tuple(atoi(element) for element in elements(text))


def float_list(text: str) -> Tuple[float, ...]:
    """A comma list of C doubles."""
    return tuple(atof(element) for element in elements(text))


def replace_ints(text: str, numbers: Tuple[int, ...]) -> str:
    """`text`, a comma list, with its integers replaced one by one and its spacing kept.

    A list whose length changes is written afresh, in the spacing of its first comma.
    """
    spots = list(_INT.finditer(text))
    if len(spots) != len(numbers):
        separator = re.search(r"\s*,\s*", text)
        return (separator.group() if separator else ",").join(str(number) for number in numbers)
    out, end = [], 0
    for spot, number in zip(spots, numbers):
        out += [text[end : spot.start()], str(number)]
        end = spot.end()
    return "".join(out) + text[end:]
