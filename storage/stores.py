"""From a location to a store of `obstore`.

Credentials, regions and endpoints come from the clouds' own variables, which obstore reads itself:
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION, AWS_ENDPOINT_URL,
roles of instances and containers; GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT;
AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, managed identities. It reads
neither `~/.aws` profiles nor Azure's connection strings; the latter are taken apart here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from storage.locations import local_folder

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, RetryConfig, S3Config

CloudStore = S3Store | GCSStore | AzureStore
Store = LocalStore | CloudStore


def store_at(url: str, environment: Mapping[str, str], timeout: timedelta) -> Store:
    """Return the store at a location; a local folder is made, a cloud is not asked for anything yet.

    Retries end at half of `timeout`, so that what fails then is reported with its cause instead of as too slow.
    """
    folder = local_folder(url)
    if folder is not None:
        return LocalStore(folder, mkdir=True)
    retry: RetryConfig = {"retry_timeout": timeout / 2}
    options = _client_options(environment)
    match urlsplit(url).scheme:
        case "s3":
            return S3Store.from_url(url, config=_s3(url, environment), client_options=options, retry_config=retry)
        case "gs":
            return GCSStore.from_url(url, client_options=options, retry_config=retry)
        case _:
            return AzureStore.from_url(url, config=_azure(environment), client_options=options, retry_config=retry)


def _endpoint(environment: Mapping[str, str]) -> str:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    return next((environment[name] for name in names if environment.get(name)), "")


def _client_options(environment: Mapping[str, str]) -> ClientConfig:
    # Who writes an endpoint with http:// has said so; obstore wants to hear it a second time (AWS_ALLOW_HTTP).
    return {"allow_http": True} if _endpoint(environment).startswith("http://") else {}


def _s3(url: str, environment: Mapping[str, str]) -> S3Config:
    """Ask for `https://bucket.s3.region.amazonaws.com/...`, where Amazon's certificates allow it.

    They cover one label before `s3`; other vendors' endpoints take the bucket as first part of the path.
    """
    bucket = urlsplit(url).netloc
    amazon = not _endpoint(environment) and "." not in bucket
    return {"virtual_hosted_style_request": True} if amazon else {}


def _azure(environment: Mapping[str, str]) -> AzureConfig:
    text = environment.get("AZURE_STORAGE_CONNECTION_STRING", "")
    parts = dict(part.split("=", 1) for part in text.split(";") if part)
    config: AzureConfig = {}
    if "AccountName" in parts:
        config["account_name"] = parts["AccountName"]
    if "AccountKey" in parts:
        config["account_key"] = parts["AccountKey"]
    if "BlobEndpoint" in parts:
        config["endpoint"] = parts["BlobEndpoint"]
    return config
