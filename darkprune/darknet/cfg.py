"""The `.cfg` text as a lossless document: sections and options over the raw lines.

What is not edited is written back byte for byte. Documents are values: an edit is given to `render`
and gives new text; the document itself never changes.
"""

import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from darkprune.darknet.values import strip
from darkprune.errors import CfgError, Place, place

MAX_BYTES = 16 << 20  # the longest real cfg has some 100 kB
_BOM = b"\xef\xbb\xbf"

Option = NamedTuple(
    "Option",
    [
        ("key", str),  # without blanks
        ("value", Optional[str]),  # without blanks; None for a line that has no "="
        ("number", int),  # 1-based line in the file
        ("raw", str),  # the line as it stands, without its newline
    ],
)


class Section:
    """One `[type]` section: the raw lines it owns and the options they hold.

    Attributes:
        type: the text between the brackets, blanks removed; it includes anything behind a last `]`.
        number: 1-based line of the header.
        lead: the comment lines directly above the header, which belong to it.
        header: the header line.
        body: all lines up to the next section's lead.
        options: the options in order, duplicates included.
    """

    __slots__ = ("path", "type", "number", "lead", "header", "body", "options")

    def __init__(self, path: str, number: int, lead: List[str], header: str) -> None:
        self.path = path
        self.number = number
        self.lead = lead
        self.header = header
        self.body: List[str] = []
        self.options: List[Option] = []
        name = strip(header)
        self.type = name[1:-1] if name.endswith("]") else name[1:]

    def find(self, key: str, last: bool = False) -> Optional[Option]:
        """The option a reader sees: the first of its name (Darknet), or the last (OpenCV)."""
        for option in reversed(self.options) if last else self.options:
            if option.key == key:
                return option
        return None

    def place(self, key: Optional[str] = None) -> Place:
        """The place of an option's value, or of the header where the option is absent."""
        option = self.find(key) if key else None
        if option is None:
            text = self.header.rstrip("\r\n")
            return place(self.path, self.number, text, len(text) - len(text.lstrip()), len(text.strip()))
        start, end = _value_span(option.raw)
        return place(self.path, option.number, option.raw.rstrip("\r"), start, end - start)

    def duplicates(self) -> List[Option]:
        """Options that repeat a key of this section with another value."""
        first: Dict[str, Option] = {}
        return [o for o in self.options if first.setdefault(o.key, o).value != o.value]

    def render(self, edits: Dict[str, Optional[str]]) -> str:
        """The section's text with the options of `edits` set: value text, or None to drop the option.

        Every line of a repeated key is changed, so that all readers agree; a new key follows the last option.
        """
        body = list(self.body)
        if edits:
            seen = set()
            for index, line in enumerate(body):
                key = _key(line)
                if key in edits:
                    seen.add(key)
                    body[index] = "" if edits[key] is None else _with_value(line, edits[key])
            new = ["{}={}".format(k, v) for k, v in edits.items() if k not in seen and v is not None]
            _append(body, self.header, new)
        return "".join(self.lead) + self._ended_header(body) + "".join(body)

    def _ended_header(self, body: List[str]) -> str:
        """The header line, ended where lines follow that the file did not have."""
        return self.header if not body or self.header.endswith("\n") else self.header + "\n"

    def remains(self) -> str:
        """The user's comments at the section's end, which stay when the section goes."""
        last = max([-1] + [i for i, line in enumerate(self.body) if _key(line) is not None])
        tail = self.body[last + 1 :]
        return "".join(tail) if any(strip(line) for line in tail) else ""


class CfgDocument:
    """A whole cfg file. `sections[0]` is the net section.

    Attributes: path, bom (whether the file began with a UTF-8 byte-order mark), preamble (lines before
    the first section that belong to no section), sections.
    """

    __slots__ = ("path", "bom", "preamble", "sections")

    def __init__(self, path: str, bom: bool, preamble: List[str], sections: List[Section]) -> None:
        self.path = path
        self.bom = bom
        self.preamble = preamble
        self.sections = sections

    @property
    def crlf(self) -> bool:
        """Whether any line ends in CR LF, which the original Darknet refuses."""
        return any(s.header.endswith("\r\n") for s in self.sections)

    def to_bytes(self) -> bytes:
        """The file as it was read."""
        text = "".join(self.preamble) + "".join(s.render({}) for s in self.sections)
        return (_BOM if self.bom else b"") + text.encode("latin-1")


def read(path: str) -> CfgDocument:
    """Reads a cfg file. Raises CfgError for what no reader takes as a cfg."""
    try:
        with open(str(path), "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (IOError, OSError) as error:
        raise CfgError("cannot read the cfg: {}".format(error.strerror), place(path), "check the path") from error
    _refuse_no_cfg(data, path)
    return parse(data, path)


def _refuse_no_cfg(data: bytes, path: str) -> None:
    """Raises CfgError for what stands in a cfg's place where files were swapped, cut, or never downloaded."""
    cause = None
    if not data:
        cause, cure = "the file is empty", "copy or download the file again"
    elif len(data) > MAX_BYTES:
        cause = "this is not a cfg: it has more than {} bytes".format(MAX_BYTES)
        cure = "the order is CFG WEIGHTS; are they swapped?"
    elif data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        cause, cure = "this is UTF-16 text, which no reader takes", "save it as UTF-8"
    elif b"\0" in data:
        cause, cure = "this is not a cfg: it holds binary data", "the order is CFG WEIGHTS; are they swapped?"
        if data.lstrip()[:1] in (b"[", b"#", b";"):
            cause, cure = "the text holds a zero byte", "remove it, or copy the file again"
        cause += " at byte {}".format(data.find(b"\0"))
    elif data.startswith(b"version https://git-lfs"):
        cause, cure = "this is a Git LFS pointer, not the cfg", "run: git lfs pull"
    elif data.lstrip().startswith(b"<"):
        cause, cure = "this is a web page, not a cfg", "download the raw file, not the page that shows it"
    if cause is not None:
        raise CfgError(cause, place(path), cure)


def parse(data: bytes, path: str = "<cfg>") -> CfgDocument:
    """The document of a cfg file's bytes; `path` is used in messages. Raises CfgError."""
    path = str(path)
    bom = data.startswith(_BOM)
    text = data[len(_BOM) if bom else 0 :].decode("latin-1")
    preamble: List[str] = []
    sections: List[Section] = []
    pending: List[str] = []
    for number, line in enumerate(_lines(text), 1):
        word = strip(line)
        if word.startswith(_BOM.decode("latin-1")):
            where = place(path, number, line.rstrip("\r\n"), 0, 3)
            raise CfgError("a byte-order mark inside the file", where, "remove it; two files were joined here")
        if word.startswith("["):
            sections.append(Section(path, number, pending, line))
            pending = []
        elif word and word[0] in "#;":
            pending.append(line)
        else:
            owner = sections[-1].body if sections else preamble
            owner += pending + [line]
            pending = []
            if word:
                _add_option(sections, path, number, line, word)
    (sections[-1].body if sections else preamble).extend(pending)
    if not sections:
        raise CfgError("the file holds no section", place(path), "a cfg starts with [net]")
    for section in sections:
        _refuse_malformed_header(section)
    if sections[0].type not in ("net", "network"):
        raise CfgError("the first section must be [net]", sections[0].place(), "put [net] first")
    return CfgDocument(path, bom, preamble, sections)


def _refuse_malformed_header(section: Section) -> None:
    name = strip(section.header)
    if name.endswith("]"):
        return
    if "]" in name:
        raise CfgError("text behind the section name", section.place(), "put comments on a line of their own")
    raise CfgError("the section name has no closing bracket", section.place(), "write {}]".format(name))


def _lines(text: str) -> List[str]:
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _add_option(sections: List[Section], path: str, number: int, line: str, word: str) -> None:
    raw = line.rstrip("\n")
    if not sections:
        where = place(path, number, raw.rstrip("\r"), 0, len(raw.rstrip()))
        raise CfgError("this option stands before the first section", where, "put [net] first")
    key, equals, value = word.partition("=")
    if equals and not value:
        return  # every reader ignores `key=` and takes the default
    sections[-1].options.append(Option(key, value if equals else None, number, raw))


def _key(line: str) -> Optional[str]:
    """The key of an option line, None for blank and comment lines."""
    word = strip(line)
    return word.partition("=")[0] if word and word[0] not in "#;[" else None


def _value_span(line: str) -> Tuple[int, int]:
    """Start and end of the value in an option line, a comment behind it left out."""
    found = _value(line)
    if found is None:
        text = line.rstrip()
        return len(line) - len(line.lstrip()), max(len(text), 1)
    return found


def _value(line: str) -> Optional[Tuple[int, int]]:
    found = re.match(r"[^=]*=?[ \t]*([^#;]*?)\s*(?:[#;].*)?$", line.rstrip("\r\n"), re.S)
    return (found.start(1), found.end(1)) if found is not None and found.group(1) else None


def _with_value(line: str, value: Optional[str]) -> str:
    found = _value(line)
    if found is None:  # `key=`, which readers skip, or `key`
        text = line.rstrip()
        end = line.find("=") + 1 or len(text)
        return line[:end] + ("" if "=" in line else "=") + str(value) + line[end:]
    return line[: found[0]] + str(value) + line[found[1] :]


def _append(body: List[str], header: str, new: Sequence[str]) -> None:
    """Adds option lines behind the last option of a section's body."""
    if not new:
        return
    last = max([-1] + [i for i, line in enumerate(body) if _key(line) is not None])
    ending = "\r\n" if header.endswith("\r\n") else "\n"
    if last >= 0 and not body[last].endswith("\n"):
        body[last] += ending
    body[last + 1 : last + 1] = [line + ending for line in new]


def normalise(text: str) -> str:
    """Line ends as every reader takes them: LF."""
    return text.replace("\r\n", "\n")


def comment_block(lines: Iterable[str]) -> str:
    """Lines as `#` comments, the one kind of comment all readers skip."""
    return "".join("# {}\n".format(line) for line in lines)
