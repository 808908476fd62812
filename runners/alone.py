"""A runner by itself, for gateways on other machines: `bentoml serve runners.alone:service --port 3001`.

It serves the model of JUBAKO_MODELS. One runner has one model, in a process of its own as everywhere; for further
models start further runners, each on a port of its own.
"""

from __future__ import annotations

import sys

from core.errors import StartError
from core.logs import show_log
from processes.supervisor import end_at_second_signal
from runners.service import service_alone
from settings import settings

try:
    SETTINGS = settings()
    service = service_alone(SETTINGS)
except StartError as error:
    sys.exit(f"jubako: {error}")
show_log()
end_at_second_signal()
