"""The page as the browser gets it: nothing from elsewhere, a limit on uploads, nobody else's files."""

import re
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'shared_tmu[page]'")
from starlette.testclient import TestClient

from shared_tmu.page.options import PageOptions
from shared_tmu.page.program import POLICY, QUIET, make_app

ELSEWHERE = re.compile(r"""(?:src|href)=["'](?:https?:)?//([^"'/]+)""")


@pytest.fixture
def client(catalog, tmp_path, monkeypatch):
    for name in (*QUIET, "GRADIO_TEMP_DIR"):  # which `make_app` sets, for the process
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("shared_tmu.page.program.Catalog", lambda *_: catalog)
    (tmp_path / "page").mkdir()
    with TestClient(
        make_app(PageOptions(max_mb=1), tmp_path / "page"), base_url="http://127.0.0.1"
    ) as client:
        yield client


def test_the_page_names_no_other_machine(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert set(ELSEWHERE.findall(answer.text)) <= {"127.0.0.1"}
    assert not re.search(r"https?://fonts\.|cdn", answer.text)
    assert "https:" not in POLICY
    assert client.get("/theme.css").text.count("@import") == 0


def test_nothing_is_reported_and_nothing_is_offered_to_programs(client):
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("space_id")
    assert client.get("/docs").status_code == 404
    assert all(one["api_visibility"] != "public" for one in config["dependencies"])


def test_every_control_has_a_label_and_every_picture_a_text(client):
    parts = client.get("/config").json()["components"]
    for part in parts:
        props = part["props"]
        if part["type"] in ("radio", "slider", "dropdown", "image", "gallery", "model3d"):
            assert props["label"], part["type"]
        if part["type"] == "image":
            assert props["alt_text"]


def test_uploads_have_a_limit(client):
    def upload(size):
        return client.post("/gradio_api/upload", files={"files": ("a.jpg", b"x" * size)})

    assert upload(1000).status_code == 200
    refused = upload(2_000_000)
    assert refused.status_code == 413
    assert "exceeded maximum allowed size" in refused.text


def test_files_of_the_machine_are_not_given_out(client):
    for path in ("/etc/hostname", str(Path(__file__)), str(Path.home())):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
