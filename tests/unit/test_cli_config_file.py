"""Which server and key a command uses, and the file that keeps them (CONTRACT §9)."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from cli import config_file, target
from cli.loopback import is_loopback
from cli.problems import CliError


def test_the_path_follows_the_contracts_order(tmp_path: Path) -> None:
    """CROWNEST_CONFIG_PATH, then XDG_CONFIG_HOME when absolute, then ~/.config."""
    home = {"HOME": str(tmp_path)}
    assert config_file.path(home) == tmp_path / ".config/crownest/config.json"
    assert config_file.path({**home, "XDG_CONFIG_HOME": "/x"}) == Path("/x/crownest/config.json")
    assert config_file.path({**home, "XDG_CONFIG_HOME": "rel"}) == tmp_path / ".config/crownest/config.json"
    named = {**home, "XDG_CONFIG_HOME": "/x", "CROWNEST_CONFIG_PATH": "/y/c.json"}
    assert config_file.path(named) == Path("/y/c.json")


def test_credential_wins_over_api_key_and_a_new_key_removes_it(tmp_path: Path) -> None:
    """Otherwise a login would store a key that is never used."""
    env = {"CROWNEST_CONFIG_PATH": str(tmp_path / "c.json")}
    Path(env["CROWNEST_CONFIG_PATH"]).write_text(
        json.dumps({"apiKey": "a", "credential": "b", "apiUrl": "http://x", "theme": "dark"})
    )
    assert config_file.read(env).credential == "b"
    config_file.write(api_key="c", env=env)
    assert config_file.read(env) == config_file.Config("http://x", "c")
    assert json.loads(Path(env["CROWNEST_CONFIG_PATH"]).read_text())["theme"] == "dark"


def test_writing_the_address_alone_keeps_the_key(tmp_path: Path) -> None:
    """What a later start of the server does."""
    env = {"CROWNEST_CONFIG_PATH": str(tmp_path / "deep" / "c.json")}
    config_file.write(api_url="http://a", api_key="k", env=env)
    config_file.write(api_url="http://b", env=env)
    assert config_file.read(env) == config_file.Config("http://b", "k")
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_private_after_writing(tmp_path: Path) -> None:
    """The new file is made private before it takes the name; no moment shows the key."""
    file = tmp_path / "c.json"
    file.write_text("{}")
    file.chmod(0o644)
    config_file.write(api_key="k", env={"CROWNEST_CONFIG_PATH": str(file)})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_a_symlink_stays_a_symlink(tmp_path: Path) -> None:
    """Dotfiles are often linked from a repository."""
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("{}")
    link.symlink_to(real)
    config_file.write(api_key="k", env={"CROWNEST_CONFIG_PATH": str(link)})
    assert link.is_symlink()
    assert json.loads(real.read_text())["apiKey"] == "k"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed and lost: the old content stands, and no part of the new one lies about."""
    env = {"CROWNEST_CONFIG_PATH": str(tmp_path / "c.json")}
    config_file.write(api_key="old", env=env)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CliError, match="No space left"):
        config_file.write(api_key="new", env=env)
    assert config_file.read(env).credential == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_the_environment_wins_over_the_file_and_says_so(tmp_path: Path) -> None:
    """CROWNEST_BEARER_TOKEN > CROWNEST_API_KEY > file; empty variables count as unset."""
    env = {"CROWNEST_CONFIG_PATH": str(tmp_path / "c.json")}
    assert target.find(env).api_url == "https://api.crownest.dev"
    assert target.find(env).credential is None
    config_file.write(api_url="http://file", api_key="f", env=env)
    assert (target.find(env).api_url, target.find(env).credential) == ("http://file", "f")
    assert target.find({**env, "CROWNEST_API_KEY": "", "CROWNEST_API_URL": ""}).credential == "f"
    both = {**env, "CROWNEST_API_KEY": "k", "CROWNEST_BEARER_TOKEN": "b", "CROWNEST_API_URL": "http://e"}
    found = target.find(both)
    assert (found.api_url, found.api_url_from) == ("http://e", "CROWNEST_API_URL")
    assert (found.credential, found.credential_from) == ("b", "CROWNEST_BEARER_TOKEN")


def test_with_everything_in_the_environment_the_file_is_not_read(tmp_path: Path) -> None:
    """A broken file, or no home at all, must not matter then."""
    broken = tmp_path / "c.json"
    broken.write_text("{")
    env = {"CROWNEST_CONFIG_PATH": str(broken), "CROWNEST_API_URL": "http://e", "CROWNEST_API_KEY": "k"}
    assert target.find(env).credential == "k"


def test_representations_hide_the_credential(tmp_path: Path) -> None:
    """Tracebacks and logs end up in many places."""
    env = {"CROWNEST_CONFIG_PATH": str(tmp_path / "c.json"), "CROWNEST_API_KEY": "cn_secret"}
    assert "cn_secret" not in repr(target.find(env))
    assert "cn_secret" not in repr(config_file.Config("u", "cn_secret"))


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8787", True),
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("http://127.evil.example", False),
        ("http://localhost.example", False),
        ("http://10.0.0.1", False),
        ("http://[::1", False),
    ],
)
def test_loopback_is_recognised(url: str, *, local: bool) -> None:
    """Decides about proxies and warnings."""
    assert is_loopback(url) is local
