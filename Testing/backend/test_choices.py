"""The list of methods, networks and presets that forms are made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sslseg.contract.choices import PATH, read_choices
from sslseg.contract.errors import SSLSegError
from sslseg.methods import method_class
from sslseg.methods.settings import parse_settings
from sslseg.networks import NETWORK_NAMES
from sslseg.train.choices import describe_choices


def test_the_list_says_what_the_code_offers() -> None:
    assert read_choices() == describe_choices(), "run 'sslseg methods --write' after a change of the code"


def test_every_default_of_the_list_is_accepted_by_its_method_and_every_preset_names_a_network() -> None:
    choices = read_choices()
    for method in choices.methods:
        defaults = {setting.name: setting.default for setting in method.settings}
        settings = method_class(method.name).Settings
        assert parse_settings(settings, defaults) == settings()
    assert {preset.network for preset in choices.presets} <= set(NETWORK_NAMES)
    assert choices.preset("quick", "cuda:1") != choices.preset("quick", "cpu")


def test_it_is_read_without_torch() -> None:
    script = (
        "import sys; from sslseg.contract.choices import read_choices\n"
        "assert read_choices().method('mean_teacher').uses_unlabelled; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_method_or_a_damaged_list_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SSLSegError, match=r"no method 'magic'.*mean_teacher"):
        read_choices().method("magic")
    (tmp_path / "choices.json").write_text(PATH.read_text()[:-50])
    with pytest.raises(SSLSegError, match="not valid JSON"):
        read_choices(tmp_path / "choices.json")
