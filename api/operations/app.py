"""The operations as an application: state, models, and the front page."""

from __future__ import annotations

from fastapi import APIRouter

from api.http.contract_app import contract_app
from api.http.refusals import Refused, refusal
from api.operations import front_page, lifecycle, loras, status

router = APIRouter()
for each in (status.router, lifecycle.router, loras.router, front_page.router):
    router.include_router(each)
operations_app = contract_app("Operations", "operations", router, refusal, Refused)
