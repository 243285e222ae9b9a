"""Reading the routes file, the operator's or the packaged one without routes, and how each route's people read."""

from importlib import resources
from pathlib import Path

from tillwatch_collector.console.texts import Texts
from tillwatch_collector.domain.message import Style
from tillwatch_collector.domain.notification import Routes, parse_routes
from tillwatch_collector.errors import RoutesInvalid


def load(path: Path | None = None) -> Routes:
    """Return the routes at `path`, or the packaged ones; raises `RoutesInvalid`, which names the file."""
    if path is None:
        return parse_routes(resources.files("tillwatch_collector").joinpath("routes.toml").read_text(encoding="utf-8"))
    try:
        return parse_routes(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RoutesInvalid(f"{path}: expected a readable file, got {error}") from error
    except RoutesInvalid as error:
        raise RoutesInvalid(f"{path}: {error}") from None


def styles(routes: Routes, base_url: str | None) -> dict[str, Style]:
    """Return how the people of each route read, by the route's name."""
    return {
        route.name: Style(words=Texts(language=route.language), zone=route.zone, base_url=base_url)
        for route in routes.route
    }
