"""The earliest time that it can be: a clock that says less is wrong, whatever it says.

Raise it with every release, to a day before the release is built: a till that boots with an empty clock knows by it
that its clock is wrong, before anybody has told it the time. A floor that lies in the future makes right clocks look
wrong. A change violates this when it is above the time of the build, or falls.
"""

from datetime import UTC, datetime
from typing import Final

BUILT_AT: Final = datetime(2026, 11, 1, tzinfo=UTC)
