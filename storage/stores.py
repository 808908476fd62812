"""Makes an `obstore` store for a location.

Credentials, regions and endpoints come from the clouds' own variables, which obstore reads itself:
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION, AWS_ENDPOINT_URL,
roles of instances and containers; GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT;
AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, managed identities. It reads
neither `~/.aws` profiles nor Azure's connection strings; the latter are parsed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from settings.locations import local_folder

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, RetryConfig, S3Config

CloudStore = S3Store | GCSStore | AzureStore
Store = LocalStore | CloudStore


def store_at(url: str, environment: Mapping[str, str], timeout: timedelta) -> Store:
    """Return the store at a location; a local folder is created, a cloud is not contacted yet.

    `timeout` bounds a single request; retries end at half of it, so that a failure is reported with its cause
    rather than as a timeout.
    """
    folder = local_folder(url)
    if folder is not None:
        return LocalStore(folder, mkdir=True)
    retry: RetryConfig = {"retry_timeout": timeout / 2}
    match urlsplit(url).scheme:
        case "s3":
            endpoint, s3 = _s3(url, environment)
            options = _client_options(endpoint, timeout)
            return S3Store.from_url(url, config=s3, client_options=options, retry_config=retry)
        case "gs":
            return GCSStore.from_url(url, client_options=_client_options(None, timeout), retry_config=retry)
        case _:
            endpoint, azure = _azure(environment)
            options = _client_options(endpoint, timeout)
            return AzureStore.from_url(url, config=azure, client_options=options, retry_config=retry)


def _client_options(endpoint: str | None, timeout: timedelta) -> ClientConfig:
    # An http:// endpoint is deliberate, so spare the operator obstore's second setting for it (AWS_ALLOW_HTTP).
    return {"timeout": timeout, "allow_http": endpoint is not None and endpoint.startswith("http://")}


def _s3(url: str, environment: Mapping[str, str]) -> tuple[str | None, S3Config]:
    """Return the endpoint, if it is not Amazon's, and the options that obstore cannot find itself.

    At Amazon, ask for `https://bucket.s3.region.amazonaws.com/...` where its certificates allow it: they cover one
    label before `s3`. Other vendors take the bucket as first part of the path.
    """
    endpoint = _first(environment, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    decided = endpoint is not None or "AWS_VIRTUAL_HOSTED_STYLE_REQUEST" in environment
    if decided or "." in urlsplit(url).netloc:
        return endpoint, {}
    return None, {"virtual_hosted_style_request": True}


def _azure(environment: Mapping[str, str]) -> tuple[str | None, AzureConfig]:
    """Return the endpoint, if it is not Azure's, and the options in a connection string."""
    text = environment.get("AZURE_STORAGE_CONNECTION_STRING", "")
    parts = dict(part.split("=", 1) for part in text.split(";") if part)
    config: AzureConfig = {}
    if "AccountName" in parts:
        config["account_name"] = parts["AccountName"]
    if "AccountKey" in parts:
        config["account_key"] = parts["AccountKey"]
    if "BlobEndpoint" in parts:
        config["endpoint"] = parts["BlobEndpoint"]
    return config.get("endpoint") or _first(environment, "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"), config


def _first(environment: Mapping[str, str], *names: str) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)
