"""The web application: the library's routes, models and errors over collections of ours."""

from __future__ import annotations

from importlib import resources
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from optimade import __api_version__
from optimade.models import LinksResource, ReferenceResource, StructureResource
from optimade.server.config import ServerConfig
from optimade.server.exception_handlers import OPTIMADE_EXCEPTIONS
from optimade.server.mappers import BaseResourceMapper, LinksMapper, ReferenceMapper, StructureMapper
from optimade.server.middleware import OPTIMADE_MIDDLEWARE
from optimade.server.query_params import EntryListingQueryParams
from optimade.server.routers import info, landing, links, references, structures, versions
from optimade.server.routers.utils import BASE_URL_PREFIXES, JSONAPIResponse
from pydantic import BaseModel
from pydantic_core import to_json

from defectdb.serve.optimade import sources
from defectdb.serve.optimade.collections import DuckDBCollection, Reading
from defectdb.serve.optimade.fields import PREFIX, STRUCTURES
from defectdb.version import __version__

PAGE = 20
"""Entries of a page where a request does not say."""

LARGEST_PAGE = 1_000
"""Entries of a page at the most."""

_ROUTERS = (info, links, references, structures, landing)

_written = APIRouter()
"""Routes that write their answer themselves, before the library's route of the same address."""


class QuickResponse(JSONAPIResponse):  # type: ignore[misc]
    """JSON:API written by pydantic: a page of a thousand structures takes a seventh of the time that json takes."""

    def render(self, content: Any) -> bytes:
        """The JSON of a document; what is not finite becomes null."""
        return to_json(content, inf_nan_mode="null")


def _structures(request: Request, params: Annotated[EntryListingQueryParams, Depends()]) -> QuickResponse:
    """A page of structures; the library's own route checks and copies every coordinate before it writes it."""
    answer = structures.get_structures(request, params)
    return QuickResponse({name: _plain(value) for name, value in answer.items()})


_written.add_api_route("/structures", _structures)


def _plain(value: Any) -> Any:
    """A part of an answer without the library's models."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return value


def application(path: str, *, seconds: float, base_url: str | None = None) -> FastAPI:
    """The OPTIMADE service of a database file.

    seconds   time that one request may take
    base_url  address under which readers know the service, for links to next pages; by default that of the request
    """
    config = _config(base_url)
    app = FastAPI(
        title="OPTIMADE API",
        description="Point defects in 2D crystals: structures, calculated values and predictions.",
        version=__api_version__,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        openapi_url=f"{BASE_URL_PREFIXES['major']}/extensions/openapi.json",
        default_response_class=QuickResponse,
        separate_input_output_schemas=False,
    )
    app.state.config = config
    app.state.base_resource_mapper = BaseResourceMapper(config)
    app.state.entry_collections = _collections(Reading(path, seconds), config)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    for middleware in OPTIMADE_MIDDLEWARE:
        app.add_middleware(middleware)
    for exception, handler in OPTIMADE_EXCEPTIONS:
        app.add_exception_handler(exception, handler)
    app.include_router(versions.router)
    for prefix in ("", *BASE_URL_PREFIXES.values()):
        app.include_router(_written, prefix=prefix, include_in_schema=False)
        for part in _ROUTERS:
            app.include_router(part.router, prefix=prefix, include_in_schema=not prefix)
    return app


def _collections(reading: Reading, config: ServerConfig) -> dict[str, DuckDBCollection]:
    return {
        "links": DuckDBCollection(reading, sources.links(), LinksResource, LinksMapper(config), config),
        "references": DuckDBCollection(
            reading, sources.references(), ReferenceResource, ReferenceMapper(config), config
        ),
        "structures": DuckDBCollection(
            reading, sources.structures(), StructureResource, StructureMapper(config), config
        ),
    }


def _config(base_url: str | None) -> ServerConfig:
    """Settings of the library; those of its own configuration files and variables do not matter here."""
    return ServerConfig(
        insert_test_data=False,
        page_limit=PAGE,
        page_limit_max=LARGEST_PAGE,
        base_url=base_url,
        root_path=None,
        debug=False,
        implementation={"name": "defectdb", "version": __version__},
        provider={
            "prefix": PREFIX,
            "name": "defectdb",
            "description": "Point defects in 2D crystals: calculated structures and predictions of formulas",
        },
        provider_fields={"structures": [_described(name) for name, field in STRUCTURES.items() if field.own]},
        aliases={},
        length_aliases={},
        custom_landing_page=str(resources.files("defectdb.serve.optimade") / "landing.html"),
        is_index=False,
    )


def _described(name: str) -> dict[str, Any]:
    """What ``/info/structures`` says about one of the project's properties."""
    field = STRUCTURES[name]
    described = {
        "name": field.key,
        "type": field.kind,
        "description": field.meaning,
        "sortable": field.compared,
    }
    return described | ({"unit": field.unit} if field.unit else {})
