import os
import millpond.aio
from fastapi import FastAPI, HTTPException

pond = millpond.aio.open(os.environ.get("CACHE", "memory:"), store="sqlite:films.db")
films = pond.store("films")
app = FastAPI()

@app.get("/films/{film_id}")
async def film(film_id: str):
    found = await pond.fetch(f"film:{film_id}", lambda: films.get(film_id), ttl="10m", negative_ttl="30s")
    if found is None:
        raise HTTPException(404, f"there is no film {film_id}")
    return found
