"""LoRAs that clients have fetched from the hub, from repositories that the operator allows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import httpx
from huggingface_hub import errors as hub
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

from core.errors import Forbidden, InvalidRequest, LoadInterrupted, TooLarge

RETRY_S = 30


def refuse_others(repo: str, allowed: Collection[str]) -> None:
    """Raise Forbidden unless a repository or its owner is allowed; `*` allows all."""
    if not {"*", repo.lower(), repo.lower().partition("/")[0]}.intersection(each.lower() for each in allowed):
        raise Forbidden(
            f"this server fetches no LoRAs from {repo}; the operator allows repositories in JUBAKO_LORA_REPOS"
        )


def fetch_lora(repo: str, file: str, revision: str | None, max_bytes: int) -> Path:
    """Return a file of the hub in its cache, fetching it. Blocks.

    Raises InvalidRequest when it is not there, TooLarge, and LoadInterrupted if the hub does not give it now.
    """
    try:
        size = get_hf_file_metadata(hf_hub_url(repo, file, revision=revision)).size or 0
        if size > max_bytes:
            raise TooLarge(f"{repo}/{file} has {size} bytes, more than {max_bytes}")
        return Path(hf_hub_download(repo, file, revision=revision))
    except hub.HFValidationError as error:
        raise InvalidRequest("repo", f"{repo} is not the name of a repository") from error
    except hub.GatedRepoError as error:
        raise InvalidRequest(
            "repo", f"{repo} is gated; the operator must accept its licence and set HF_TOKEN"
        ) from error
    except hub.RemoteEntryNotFoundError as error:
        raise InvalidRequest("file", f"{repo} has no {file}") from error
    except hub.RevisionNotFoundError as error:
        raise InvalidRequest("revision", f"{repo} has no {revision}") from error
    except hub.RepositoryNotFoundError as error:
        raise InvalidRequest("repo", f"the hub has no {repo}, or HF_TOKEN may not read it") from error
    except (hub.HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise LoadInterrupted(f"{repo} cannot be fetched now; try again later", RETRY_S) from error
