"""Certificates for the database: which files, what must be in them, and what a wrong one says."""

import re
import ssl
from functools import partial
from pathlib import Path

import pytest

from kube_ovn.config import parse_flags
from kube_ovn.controller import main as controller
from kube_ovn.controller.settings import Settings
from kube_ovn.ovsdb.errors import OvsdbError
from kube_ovn.ovsdb.tls import load_tls
from sandbox.command import run

ENDPOINTS = ("tcp:10.0.0.1:6641", "ssl:10.0.0.2:6641")


class Authority:
    """A private CA. What it issues names no host and has no extensions, like what ovs-pki makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        run(["openssl", "req", "-x509", *_new_key(folder / "key"), "-subj", "/CN=ca", "-out", folder / "cacert"])

    def issue(self, name: str) -> Path:
        """A folder with the files of the Secret kube-ovn-tls."""
        folder = self._folder / name
        folder.mkdir()
        request = folder / "request"
        issuer: list[str | Path] = ["-CA", self._folder / "cacert", "-CAkey", self._folder / "key"]
        run(["openssl", "req", "-new", *_new_key(folder / "key"), "-subj", f"/CN={name}", "-out", request])
        run(["openssl", "x509", "-req", "-in", request, *issuer, "-CAcreateserial", "-out", folder / "cert"])
        (folder / "cacert").write_bytes((self._folder / "cacert").read_bytes())
        return folder


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture
def secret(authority: Authority, tmp_path: Path) -> Path:
    return authority.issue(tmp_path.name)


def test_the_server_must_prove_its_origin_but_not_its_name(secret: Path) -> None:
    context = load_tls(ENDPOINTS, secret)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname


def test_without_tls_no_file_is_read(tmp_path: Path) -> None:
    assert load_tls(("tcp:10.0.0.1:6641", "unix:/ssl:"), tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", ["cacert", "cert", "key"])
@pytest.mark.parametrize("content", [None, b"", b"\xffrubbish", b"-----BEGIN CERTIFICATE-----\nrubbish\n"])
def test_a_missing_or_malformed_file_is_named(secret: Path, name: str, content: bytes | None) -> None:
    (secret / name).unlink()
    if content is not None:
        (secret / name).write_bytes(content)
    with pytest.raises(OvsdbError, match=f"^{re.escape(str(secret / name))}\\b"):
        load_tls(ENDPOINTS, secret)


def test_a_key_that_does_not_fit_or_wants_a_password_is_named(secret: Path, authority: Authority) -> None:
    key = secret / "key"
    plain = key.read_bytes()
    key.write_bytes((authority.issue("another") / "key").read_bytes())
    with pytest.raises(OvsdbError, match=f"^{re.escape(str(key))} is not the private key"):
        load_tls(ENDPOINTS, secret)
    key.write_text(run(["openssl", "pkey", "-aes256", "-passout", "pass:secret"], text=plain.decode()))
    with pytest.raises(OvsdbError, match=f"^{re.escape(str(key))} is not the private key"):
        load_tls(ENDPOINTS, secret)


def test_enable_ssl_makes_every_tcp_endpoint_an_ssl_one() -> None:
    flags = [f"--ovn-nb-addr={','.join(ENDPOINTS)},unix:/tcp:"]
    plain = parse_flags(Settings, "p", flags, {})
    assert plain.northbound() == (*ENDPOINTS, "unix:/tcp:")
    for tls in (
        parse_flags(Settings, "p", [*flags, "--enable-ssl=true"], {}),
        parse_flags(Settings, "p", flags, {"ENABLE_SSL": "true"}),
    ):
        assert tls.northbound() == ("ssl:10.0.0.1:6641", "ssl:10.0.0.2:6641", "unix:/tcp:")


def test_the_controller_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["kube-ovn-controller", "--ovn-nb-addr=tcp:10.0.0.1:6641", "--enable-ssl=true"])
    monkeypatch.setattr(controller, "load_tls", partial(load_tls, folder=tmp_path))
    with pytest.raises(SystemExit) as ended:
        controller.main()
    assert str(ended.value.code).startswith(f"{tmp_path}/cacert")


def _new_key(path: Path) -> list[str | Path]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]
