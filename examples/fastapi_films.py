import contextlib
import os
import millpond.aio
from fastapi import FastAPI, HTTPException, Request

pond = millpond.aio.open(os.environ.get("CACHE", "memory:"), store=os.environ.get("STORE", "sqlite:films.db"))
films = pond.collection("films", search_fields=["Title"])  # filterable= and sortable= bound what strangers may ask

@contextlib.asynccontextmanager
async def lifespan(app: FastAPI):
    await films.prepare()
    yield
    await pond.close()

app = FastAPI(lifespan=lifespan)

@app.get("/films")
async def find(request: Request):
    try:
        return await films.find(request.query_params)
    except millpond.InvalidQuery as wrong:
        raise HTTPException(400, {"reason": wrong.reason, "message": str(wrong)})
