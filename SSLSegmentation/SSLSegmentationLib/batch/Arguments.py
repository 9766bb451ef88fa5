"""What was typed behind the name of the script."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError

PYTHON = "--python"


class Arguments:
    """Options of the batch, then a command of `sslseg` with all that belongs to it.

    ```
    arguments = Arguments(["--", "--python", "/opt/env", "predict", "--model", "m", "--input=scans"])
    arguments.python, arguments.command, arguments.option("--input")   # "/opt/env", "predict", "scans"
    ```

    Args:
        words: `sys.argv` without the script. Slicer takes the `--` away before which its own options stand (CTK's
            parser, `ignore-rest`); one that is left over at the beginning is dropped.

    Attributes:
        python: path of the Python that is to run the backend, or None.
        words: the command and all that belongs to it, as the backend takes them.

    Raises:
        SSLSegError: an option of the batch lacks its value.
    """

    def __init__(self, words: Sequence[str]) -> None:
        left = list(words)
        self.python: str | None = None
        if left[:1] == ["--"]:
            left.pop(0)
        while left and left[0].partition("=")[0] == PYTHON:
            _name, joined, value = left.pop(0).partition("=")
            if not joined:
                value = left.pop(0) if left else ""
            if not value:
                raise SSLSegError(_("{option} needs the path of a Python").format(option=PYTHON))
            self.python = value
        self.words = left

    @property
    def command(self) -> str:
        """The command, such as train; an option where none was typed, empty where nothing was."""
        return self.words[0] if self.words else ""

    @property
    def wantsHelp(self) -> bool:
        return not self.words or "--help" in self.words

    def option(self, name: str) -> str | None:
        """The value of an option of the command, the last one typed; None where it was not typed."""
        values = self.values(name)
        return values[-1] if values else None

    def values(self, name: str) -> list[str]:
        """The values of an option that may be typed several times."""
        found = []
        for index, word in enumerate(self.words):
            if word.startswith(f"{name}="):
                found.append(word.partition("=")[2])
            elif word == name and index + 1 < len(self.words):
                found.append(self.words[index + 1])
        return found

    def changed(self, **options: Sequence[str]) -> list[str]:
        """The words with other values of options: `changed(input=["staged"])`."""
        names = {f"--{name}": values for name, values in options.items()}
        words = []
        left = iter(self.words)
        for word in left:
            name, joined, _value = word.partition("=")
            if name not in names:
                words.append(word)
            elif not joined:
                next(left, None)
        return words + [part for name, values in names.items() for value in values for part in (name, value)]

    def positional(self, flags: Collection[str]) -> list[str]:
        """The words behind the command that are neither an option nor its value.

        Args:
            flags: options of the command that take no value.
        """
        found = []
        left = iter(self.words[1:])
        for word in left:
            if not word.startswith("--"):
                found.append(word)
            elif "=" not in word and word not in flags:
                next(left, None)
        return found

    def options(self) -> set[str]:
        """Names of the options that were typed."""
        return {word.partition("=")[0] for word in self.words if word.startswith("--")}
