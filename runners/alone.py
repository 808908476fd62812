"""A standalone runner, for gateways on other machines: `bentoml serve runners.alone:service --port 3001`.

It serves the one model in JUBAKO_MODELS; each further model needs another runner, on a port of its own.
"""

from __future__ import annotations

from core.logs import show_log
from processes.http.protocol import bound_gateways
from processes.http.time_limit import limit_time
from processes.starting import starting
from processes.supervisor import end_at_second_signal, end_with_supervisor
from runners.service import service_alone
from settings import settings

with starting():
    SETTINGS = settings()
    service = service_alone(SETTINGS)
show_log()
end_at_second_signal()
end_with_supervisor()
bound_gateways()
limit_time()
