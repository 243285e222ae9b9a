"""Releases as a scenario tells them: what each is a version of, and which harm hides in it. Pure.

Hidden harm is what no test found: on some of the terminals a component fails some time after they switched, when the
release has long proved that it runs. A release may also fail in the open: on some terminals it does not start at all.
On which ones, `updating` draws.
"""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tillwatch_protocol.release import Version
from tillwatch_protocol.vocabulary import Code, Component

HARM_S_MAX = 86_400.0
"""What shows later is another scenario's."""

Pct = Annotated[float, Field(ge=0, le=100)]
Seconds = Annotated[float, Field(ge=0, le=HARM_S_MAX)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Harm(_Table):
    """What a release does to some of the terminals that run it, between two moments after its start there."""

    share_pct: Pct
    from_s: Seconds
    until_s: Seconds
    component: Component
    code: Code

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until_s < self.from_s:
            raise ValueError(f"expected until_s not before from_s = {self.from_s:g}, got {self.until_s:g}")
        return self


class Release(_Table):
    """One version of a product."""

    product: Code
    version: Version
    harm: Harm | None = None
    fails_pct: Pct = 0.0
    """On so many of the terminals it does not start."""

    @property
    def file_name(self) -> str:
        """Under which it is signed, after its product."""
        return f"{self.product}-{self.version}.tar.gz"

    @property
    def target(self) -> str:
        """The path that is signed."""
        return f"{self.product}/{self.file_name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A release, and the digest that was signed with it."""

    release: Release
    digest: str
    """SHA-256 in hex."""
