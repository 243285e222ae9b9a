"""Who acts, as the journal names it: a token by its name, or the person for whom a service desk's program acts.

A program that many people use has one token, and says in `X-Actor` who is at work: `person:ann`, `provider:acme`. It is
believed, so only a token with scope `admin` may. Everyone else is `token:` and the token's name.
A change violates this when a token without that scope writes under a name that it chose.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, Request

from tillwatch_collector.api.context import Context
from tillwatch_collector.api.problems import Problem
from tillwatch_collector.desk import Author
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.tokens import Principal, Scope

_NAME_CHARS_MAX = 80
"""Of what an actor may have."""

NamedActor = Annotated[str | None, Header(pattern=r"^(person|provider):[A-Za-z0-9._@-]{1,64}$")]
"""`person:` or `provider:` and an id."""


def _author(context: Context, request: Request, x_actor: NamedActor = None) -> Author:
    holder: Principal = request.state.principal
    if x_actor is not None and not holder.may(Scope.ADMIN):
        raise Problem(HTTPStatus.FORBIDDEN, f"expected a token with scope admin beside X-Actor, got {holder.name}")
    return Author(actor=x_actor or actor_of(holder), now=context.now())


def actor_of(holder: Principal) -> str:
    """Return how the journal names a token: what stands apart in its name is joined by a dash."""
    name = "-".join(holder.name.replace(":", " ").split())[:_NAME_CHARS_MAX]
    return f"token:{name or holder.token_id}"


By = Annotated[Author, Depends(_author)]
"""Who acts, and when."""


def _seen(request: Request) -> Within:
    holder: Principal = request.state.principal
    return holder.within


Seen = Annotated[Within, Depends(_seen)]
"""The part of the fleet that who acts may look at."""
