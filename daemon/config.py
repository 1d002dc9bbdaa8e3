"""Settings: `ocrd.toml` in the state folder, each value overridable by the environment.

`OCRD_INGEST__WORKERS=2` overrides `workers` in `[ingest]`. Settings are frozen and validated on
loading; a value that cannot be used is named together with what was expected.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from daemon.errors import BadSetting, NotInitialised, NotOurs
from privacy.fictions import KINDS
from privacy.policy import Policy

DEFAULT_HOME = Path("/var/lib/ocrd")
FILE_NAME = "ocrd.toml"


class Section(BaseModel):
    """A table of `ocrd.toml`; an unknown key is an error, not a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ingest(Section):
    """From the inbox to the vault."""

    workers: Annotated[int, Field(ge=1, le=64)] = 1
    settle_seconds: Annotated[float, Field(ge=0.05, le=3600)] = 1.0
    rescan_seconds: Annotated[float, Field(ge=0.2, le=3600)] = 5.0
    sidecar_wait_seconds: Annotated[float, Field(ge=0)] = 3600.0
    max_file_bytes: Annotated[int, Field(ge=1024)] = 64 * 2**20
    max_pages: Annotated[int, Field(ge=1, le=240)] = 50
    max_pixels: Annotated[int, Field(ge=10_000, le=400_000_000)] = 50_000_000
    max_total_pixels: Annotated[int, Field(ge=10_000, le=2_000_000_000)] = 250_000_000
    pdf_dpi: Annotated[int, Field(ge=72, le=600)] = 200
    confirm: bool = True
    heic: bool = False
    decode_seconds: Annotated[float, Field(gt=0)] = 30.0
    read_seconds: Annotated[float, Field(gt=0)] = 300.0
    originals: Literal["seal", "delete"] = "seal"
    originals_days: Annotated[float, Field(ge=0)] = 7.0
    retain_documents: Annotated[int, Field(ge=0)] = 100_000
    retain_days: Annotated[float, Field(ge=0)] = 365.0
    min_free_bytes: Annotated[int, Field(ge=0)] = 2**30
    min_free_files: Annotated[int, Field(ge=0)] = 10_000


class Anonymise(Section):
    """What is removed from a page before anything of it is stored."""

    policy: Literal["balanced", "strict", "custom"] = "balanced"
    off: tuple[str, ...] = ()
    """Detectors that `balanced` does without; empty removes every kind there is a detector for."""
    kinds: tuple[str, ...] = ()
    """Detectors that `custom` works with."""
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    rules: tuple[dict[str, str], ...] = ()
    surrogates: tuple[str, ...] = ()
    """Kinds of values that are replaced by made-up ones; the others are filled."""

    @model_validator(mode="after")
    def _usable(self) -> Anonymise:
        if wrong := next((rule for rule in self.rules if set(rule) != {"name", "pattern"}), None):
            raise ValueError(f"Expected a rule of name and pattern, got {wrong!r}.")
        if unknown := sorted(set(self.surrogates) - set(KINDS)):
            raise ValueError(f"Expected surrogates among {', '.join(KINDS)}, got {unknown[0]!r}.")
        Policy.of(self.model_dump())
        return self


class Learning(Section):
    """Public numbers of the rounds; none is ever derived from the documents."""

    calendar: str = "0 2 * * sun"
    capacity: Annotated[int, Field(ge=16, le=1_000_000)] = 2000
    holdout_share: Annotated[float, Field(ge=0.05, le=0.5)] = 0.2
    epsilon: Annotated[float, Field(gt=0, le=20)] = 8.0
    delta: Annotated[float, Field(gt=0, lt=1e-3)] = 1e-6
    rounds_per_document: Annotated[int, Field(ge=1, le=100)] = 4
    gate_looks_per_document: Annotated[int, Field(ge=1, le=1000)] = 4
    unit: Literal["document", "source"] = "document"
    adapter: Literal["auto", "head", "bias", "top", "lora", "norm", "neck", "all"] = "auto"
    charset: Literal["latin", "ascii"] = "latin"
    closed: bool = False
    public_start: bool = True
    label_confidence: Annotated[float, Field(ge=0, le=1)] = 0.95
    device: Literal["auto", "cpu", "cuda"] = "auto"
    memory_share: Annotated[float, Field(gt=0, le=1)] = 0.75

    @field_validator("calendar")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError("five cron fields: minute hour day-of-month month day-of-week")
        if any(character.isdigit() for character in value.split()[4]):
            raise ValueError("days of the week by name (mon ... sun): by number, schedulers disagree about them")
        return value


class Drift(Section):
    """How often the drift detectors look."""

    every_hours: Annotated[float, Field(gt=0)] = 6.0


class Gates(Section):
    """What a candidate must show."""

    anchor_documents: Annotated[int, Field(ge=4, le=10_000)] = 60
    anchor_margin: Annotated[float, Field(ge=0, le=0.1)] = 0.005
    latency_ratio: Annotated[float, Field(ge=1.0, le=3.0)] = 1.1
    holdout_tolerance: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    keep_versions: Annotated[int, Field(ge=2, le=1000)] = 5


class Settings(BaseSettings):
    """Everything that can be set; `home` is the state folder the file was found in."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="OCRD_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    home: Path = DEFAULT_HOME
    inbox: Path = Path("inbox")
    outbox: Path = Path("outbox")
    outbox_text: bool = True
    languages: tuple[str, ...] = ("en",)
    sandbox: Literal["require", "warn"] = "require"
    """Without Landlock or seccomp: refuse to start, or say so and run with what there is."""
    ingest: Ingest = Ingest()
    anonymise: Anonymise = Anonymise()
    learning: Learning = Learning()
    drift: Drift = Drift()
    gates: Gates = Gates()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = Path(init_settings().get("home", DEFAULT_HOME))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, home / FILE_NAME)

    @property
    def inbox_dir(self) -> Path:
        return self.home / self.inbox

    @property
    def outbox_dir(self) -> Path:
        return self.home / self.outbox

    @property
    def claimed_dir(self) -> Path:
        """On the inbox's own mount, so that a claim is one rename; where droppers cannot reach it, if possible."""
        inside = self.inbox_dir.is_relative_to(self.home)
        return self.home / "claimed" if inside else self.inbox_dir / ".claimed"

    @property
    def keys_dir(self) -> Path:
        return self.home / "keys"

    @property
    def models_dir(self) -> Path:
        return self.home / "models"

    @property
    def weights_dir(self) -> Path:
        return self.home / "weights"

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def ledger_path(self) -> Path:
        return self.home / "ledger" / "ledger.jsonl"

    @property
    def database_path(self) -> Path:
        return self.home / "state.db"


def default_home() -> Path:
    """`$OCRD_HOME`, else `/var/lib/ocrd`."""
    return Path(os.environ.get("OCRD_HOME", DEFAULT_HOME))


def load(home: Path) -> Settings:
    """The settings of the state folder `home`.

    Raises:
        NotInitialised: there is no `ocrd.toml` in it.
        NotOurs: another user's, who alone may read it.
        BadSetting: the file or an environment variable holds a value that cannot be used.
    """
    try:
        if not (home / FILE_NAME).is_file():
            raise NotInitialised(f"No {FILE_NAME} in {home}. Make the state folder with: ocrd --home {home} init")
        return Settings(home=home.absolute())
    except PermissionError:
        check_owner(home)
        raise
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))} = {_shown(e['input'])}: {_why(e)}" for e in error.errors()]
        raise BadSetting(
            f"{home / FILE_NAME} or the environment has values that cannot be used:\n" + "\n".join(lines)
        ) from error
    except ValueError as error:  # not TOML
        raise BadSetting(f"{home / FILE_NAME} is not valid TOML: {error}") from error


def check_owner(home: Path) -> None:
    """Raises NotOurs unless this process's user owns the state folder."""
    owner = home.stat().st_uid
    if owner != os.geteuid():
        raise NotOurs(f"{home} belongs to user {owner}, and this is user {os.geteuid()}. Run ocrd as its owner.")


def _why(error: Any) -> str:
    """What is wrong with a value, in our words where pydantic's say little."""
    if error["type"] != "extra_forbidden":
        return str(error["msg"]).removeprefix("Value error, ")
    *section, name = map(str, error["loc"])
    known: Any = Settings.model_fields
    for part in section:
        known = known[part].annotation.model_fields
    near = get_close_matches(name, known, 1)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
