"""Recordings come from where pictures may, and from nowhere else; what changed is noticed."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from catalog.sound_files import encoded, tone

from likewise.catalog.audio.recording import AudioError
from likewise.catalog.catalog import Catalog
from likewise.config import AudioSettings, ImageSettings
from likewise.progress import quiet

BELL = encoded(tone(0.2), "OGG")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked.append(self.headers["Accept"])
        self.send_response(200 if self.path == "/bell.ogg" else 404)
        self.end_headers()
        try:
            self.wfile.write(BELL)
            while self.path == "/endless.ogg":
                self.wfile.write(bytes(65_536))
        except OSError:
            pass

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(200 if self.path == "/endless.ogg" else code, message)

    def log_message(self, *arguments: object) -> None:
        pass


asked: list[str] = []


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def read(folder: Path, *cells: str, **settings: object) -> Catalog:
    ids = [f"i{row}" for row in range(len(cells))]
    pl.DataFrame({"id": ids, "title": ids, "spoken": cells}).write_csv(folder / "shop.csv")
    return Catalog.read(folder / "shop.csv", cache=folder / "cache", **settings)  # type: ignore[arg-type]


def find(catalog: Catalog) -> list[int]:
    with quiet():
        return [len(found) for found in catalog.recordings("spoken")]


def causes(catalog: Catalog) -> dict[str, int]:
    return {cause: one.count for cause, one in catalog.report.problems.items() if cause.startswith("audio-")}


def test_a_cell_may_hold_a_path_an_address_bytes_or_several(tmp_path: Path, server: str) -> None:
    (tmp_path / "a b.ogg").write_bytes(BELL)
    (tmp_path / "long.wav").write_bytes(encoded(tone(0.4)))
    inline = f"data:audio/ogg;base64,{base64.b64encode(encoded(tone(0.3), 'OGG')).decode()}"
    cells = ["a%20b.ogg", f"{server}/bell.ogg", inline, '["a b.ogg", "long.wav"]', f"{server}/none.ogg", ""]
    catalog = read(tmp_path, *cells, images=ImageSettings(allow_private_hosts=True))
    assert find(catalog) == [1, 1, 1, 2, 0, 0]
    assert causes(catalog) == {"audio-http-404": 1}
    assert asked[0].startswith("audio/*")
    (downloaded,) = catalog.recordings("spoken")[1]
    assert len(catalog.open_recording(downloaded).samples) == pytest.approx(3_200, abs=10)
    again = read(tmp_path, *cells, images=ImageSettings(allow_private_hosts=True))
    before = len(asked)
    assert find(again) == [1, 1, 1, 2, 0, 0]
    assert len(asked) == before, "what was downloaded, or missing, is remembered"


def test_the_settings_of_pictures_hold_for_recordings(tmp_path: Path, server: str) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.ogg").write_bytes(BELL)
    (tmp_path / "b.ogg").write_bytes(BELL)
    (tmp_path / "inside" / "link.ogg").symlink_to(tmp_path / "b.ogg")
    cells = ["inside/a.ogg", "b.ogg", "inside/link.ogg", f"{server}/bell.ogg"]
    catalog = read(tmp_path, *cells, images=ImageSettings(root=tmp_path / "inside"))
    assert find(catalog) == [1, 0, 0, 0]
    assert causes(catalog) == {"audio-outside-root": 2, "audio-address-refused": 1}
    assert any("lies outside the folder that --image-root names" in line for line in catalog.report.lines())


def test_an_endless_answer_ends_at_the_limit(tmp_path: Path, server: str) -> None:
    limits = AudioSettings(allow_private_hosts=True, max_bytes=300_000)
    catalog = read(tmp_path, f"{server}/endless.ogg", audio=limits)
    assert find(catalog) == [0]
    assert causes(catalog) == {"audio-too-large": 1}


def test_a_recording_that_changed_is_not_read_for_another(tmp_path: Path) -> None:
    (tmp_path / "a.ogg").write_bytes(BELL)
    catalog = read(tmp_path, "a.ogg")
    assert find(catalog) == [1]
    (tmp_path / "a.ogg").write_bytes(encoded(tone(0.2, 900), "OGG"))
    with pytest.raises(AudioError, match="has changed since it was last read"):
        catalog.open_recording(catalog.recordings("spoken")[0][0])
    fresh = read(tmp_path, "a.ogg")
    assert find(fresh) == [1]
    assert len(fresh.open_recording(fresh.recordings("spoken")[0][0]).samples) > 3_000
