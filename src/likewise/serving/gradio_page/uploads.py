"""Uploaded query pictures and recordings: one file at a time, in a folder that cannot grow without end."""

import hashlib
import secrets
import shutil
import threading
from collections import deque
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

LONGEST_UPLOAD = 20_000_000  # bytes
_MOST_UPLOADS = 50
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
_SOUND_SUFFIXES = {".wav", ".ogg", ".opus", ".flac", ".mp3"}  # which a browser plays by


class Uploads:
    """The uploads of one server; the oldest ones go when their folder is full.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: deque[Path] = deque()
        self._keeping = threading.Lock()

    async def receive(self, request: Request) -> Response:
        """Save the one file of a form; answers as Gradio's browser code expects, with a list of its path."""
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    return PlainTextResponse("An upload is a form with one file.", status_code=400)
                content = await file.read(LONGEST_UPLOAD + 1)
                name = file.filename or ""
        except ClientDisconnect:
            return Response(status_code=400)
        if len(content) > LONGEST_UPLOAD:
            return PlainTextResponse(f"A file has at most {LONGEST_UPLOAD:,} bytes.", status_code=413)
        path = await run_in_threadpool(self._save, content, name)
        return JSONResponse([str(path)])

    def _save(self, content: bytes, name: str) -> Path:
        suffix = Path(name).suffix.lower()
        folder = self._folder / hashlib.sha256(secrets.token_bytes(32)).hexdigest()
        folder.mkdir(mode=0o700)
        kind = "recording" if suffix in _SOUND_SUFFIXES else "picture"
        path = folder / f"{kind}{suffix if suffix in _SUFFIXES | _SOUND_SUFFIXES else ''}"
        path.write_bytes(content)
        with self._keeping:
            self._kept.append(folder)
            while len(self._kept) > _MOST_UPLOADS:
                shutil.rmtree(self._kept.popleft(), ignore_errors=True)
        return path
