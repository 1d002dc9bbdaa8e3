"""Settings: the template is the defaults, the environment overrides, and a bad value is named."""

import re

import pytest

from daemon import config
from daemon.errors import BadSetting, NotInitialised
from daemon.template import TEMPLATE


@pytest.fixture
def home(tmp_path):
    (tmp_path / "ocrd.toml").write_text(TEMPLATE)
    return tmp_path


def test_the_template_as_shipped_is_the_defaults(home):
    assert config.load(home) == config.Settings(home=home)


def test_every_line_of_the_template_shows_the_default(home):
    shown = re.sub(r"^# (\w+ = )", r"\1", TEMPLATE, flags=re.MULTILINE)
    (home / "ocrd.toml").write_text(shown)
    assert config.load(home) == config.Settings(home=home)


def test_every_setting_is_in_the_template():
    sections = {
        "ingest": config.Ingest,
        "anonymise": config.Anonymise,
        "learning": config.Learning,
        "drift": config.Drift,
        "gates": config.Gates,
    }
    for name, section in sections.items():
        part = re.split(rf"\n\[{name}\]", TEMPLATE)[1].split("\n[")[0]
        assert set(re.findall(r"^# (\w+) = ", part, re.MULTILINE)) == set(section.model_fields)


def test_the_environment_overrides_the_file(home, monkeypatch):
    (home / "ocrd.toml").write_text("[ingest]\nworkers = 3\nmax_pages = 7\n")
    monkeypatch.setenv("OCRD_INGEST__WORKERS", "2")
    settings = config.load(home)
    assert (settings.ingest.workers, settings.ingest.max_pages) == (2, 7)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[ingest]\nworkers = 0\n", "ingest.workers = 0"),
        ("[learning]\nepsilon = -1.0\n", "learning.epsilon = -1.0"),
        ('[learning]\ncalendar = "daily"\n', "learning.calendar = 'daily'"),
        ("[ingest]\nworker = 1\n", "ingest.worker = 1: there is no such setting; did you mean workers?"),
        ("outbox_txt = true\n", "outbox_txt = True: there is no such setting"),
        ("[gats]\n", "gats = {}: there is no such setting; did you mean gates?"),
        ('[learning]\ncalendar = "daily"\n', "'daily': five cron fields"),
        ("[ingest\n", "not valid TOML"),
    ],
)
def test_a_bad_value_is_named(home, text, named):
    (home / "ocrd.toml").write_text(text)
    with pytest.raises(BadSetting, match=re.escape(named)):
        config.load(home)


def test_a_folder_without_settings_says_what_to_do(tmp_path):
    with pytest.raises(NotInitialised, match="ocrd --home .* init"):
        config.load(tmp_path)


def test_settings_cannot_be_changed(home):
    with pytest.raises(ValueError, match="frozen"):
        config.load(home).ingest.workers = 5
