"""The table of contracts, read by the service that mounts them, the door, the drain, the upload limit and the joint
documentation.
"""

from __future__ import annotations

from api.a1111.app import a1111_app
from api.a1111.errors import a1111_refusal
from api.http.contract_table import Contract, ContractTable
from api.http.refusals import refusal
from api.hugging_face.routes import hugging_face_app, inference_refusal
from api.inpainting import inpainting_app, inpainting_refusal
from api.jobs.answers import job_refusal
from api.jobs.routes import generator_app, jobs_app
from api.mcp.app import mcp_app, mcp_refusal
from api.ollama.app import ollama_app, ollama_refusal
from api.openai.app import openai_alone, openai_app
from api.openai.chat.routes import chat_app
from api.openai.errors import openai_refusal
from api.openai.videos.routes import videos_app
from api.operations.app import operations_app
from api.pipeline import pipeline_app, pipeline_refusal
from api.predictions.answers import prediction_refusal
from api.predictions.app import predictions_app
from api.storyboard.answers import story_refusal
from api.storyboard.routes import storyboard_alone, storyboard_app
from api.typed.bentoml_tasks import FORMS, tasks_app
from api.ui.app import ADDRESS, ui_app

CONTRACTS = ContractTable(
    Contract(
        "Operations",
        operations_app,
        refusal,
        paths=("/health", "/models"),
        admin_paths=(r"/models/[^/]+/(load|unload|loras)/?$",),
        large_paths=(r"/models/[^/]+/loras/?$",),
    ),
    Contract(
        "OpenAI Images API",
        openai_app,
        openai_refusal,
        paths=("/v1", "/images"),
        prefix="/openai",
        app_alone=openai_alone,
    ),
    Contract("OpenAI Videos API", videos_app, openai_refusal, paths=("/v1",)),
    Contract("OpenAI chat with images", chat_app, openai_refusal, paths=("/v1",)),
    Contract(
        "Jobs",
        jobs_app,
        job_refusal,
        paths=("/api",),
        prefix="/generator",
        app_alone=generator_app,
        open_paths=("/api/health",),
        watching_sockets=("/events",),
    ),
    Contract(
        "Text-to-image microservice",
        pipeline_app,
        pipeline_refusal,
        paths=("/pipeline",),
        prefix="/text2image",
        admin_paths=(r"/pipeline/select-device/?$",),
    ),
    Contract(
        "Inpainting server",
        inpainting_app,
        inpainting_refusal,
        paths=("/generate-inpainting",),
        prefix="/inpainting",
    ),
    Contract(
        "Storyboard generation",
        storyboard_app,
        story_refusal,
        paths=("/generate",),
        prefix="/storyboard",
        app_alone=storyboard_alone,
    ),
    Contract(
        "Ollama's image generation",
        ollama_app,
        ollama_refusal,
        paths=("/ollama",),
        idle_paths=(r"^/ollama/api/show/?$",),
    ),
    Contract(
        "Replicate's predictions",
        predictions_app,
        prediction_refusal,
        paths=("/replicate", "/predictions"),
        idle_paths=(r"^(/replicate/v1)?/predictions/[^/]+/cancel/?$",),
    ),
    Contract(
        "A1111's web UI",
        a1111_app,
        a1111_refusal,
        paths=("/sdapi", "/controlnet"),
        idle_paths=(r"^/sdapi/v1/(options|interrupt|skip|refresh-[a-z]+)/?$",),
    ),
    Contract(
        "BentoML's tasks",
        tasks_app,
        refusal,
        paths=tuple(f"/{name}" for name in FORMS),
        idle_paths=(r"^/[a-z_]+/cancel/?$",),
    ),
    Contract("Model Context Protocol", mcp_app, mcp_refusal, paths=("/mcp",), counts_itself=True),
    # Its process calls other contracts, which count those requests; only uploads to the page are counted here.
    Contract(
        "Page to play with",
        ui_app,
        refusal,
        paths=(ADDRESS,),
        idle_paths=(rf"^{ADDRESS}/(?!gradio_api/upload)",),
        large_paths=(rf"^{ADDRESS}/gradio_api/upload/?$",),
    ),
    Contract("Hugging Face inference", hugging_face_app, inference_refusal, paths=("/models",)),
)
"""The typed APIs are BentoML's own routes, which take precedence; their errors have the default shape."""
