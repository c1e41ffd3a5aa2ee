"""The documents that every client of the benchmark reads: films of about 300 bytes of JSON under a few hundred keys."""

from __future__ import annotations

import json
import pathlib
import re

KEYS = 512
MOVIES = pathlib.Path(__file__).resolve().parents[2] / "examples/demo/data/movies.json"
FIELDS = ("Title", "US Gross", "Production Budget", "Release Date", "MPAA Rating", "Running Time min", "Distributor",
          "Major Genre", "Director", "Rotten Tomatoes Rating", "IMDB Rating", "IMDB Votes")


def snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def documents(count: int = KEYS) -> list[bytes]:
    with MOVIES.open(encoding="utf-8") as file:
        films = json.load(file)
    chosen = [{"id": f"{row:04}", **{snake(field): film[field] for field in FIELDS}}
              for row, film in enumerate(films[:count])]
    return [json.dumps(film, ensure_ascii=False, separators=(",", ":")).encode() for film in chosen]


def key(row: int) -> str:
    return f"film:{row:04}"
