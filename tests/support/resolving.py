"""What requests are checked against, without a server."""

from __future__ import annotations

from models.catalogue.entry import Entry
from models.catalogue.resolving.resolve import ServerLimits
from tests.support.servers.serving import ENTRY_FIELDS

TINY_ENTRY = Entry.model_validate(
    {**ENTRY_FIELDS, "id": "tiny", "family": "stable-diffusion", "source": {"path": "weights"}}
)
LIMITS_OF_SERVER = ServerLimits(max_prompt_chars=100, max_num_images=4, max_deadline_s=60)
