"""
All settings, and where they come from.

Order, the first wins: command-line flags, environment (``MILVANE_LITE__FLUSH_MAX_ROWS``), the TOML
file, defaults. Read once; what changes while running is not a setting. The only module that reads
the environment.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import Self

from milvane.apis.otlp.settings import OtlpSettings
from milvane.apis.settings import ApisSettings
from milvane.control_plane.settings import ControlSettings
from milvane.domain.catalogue import deploy
from milvane.domain.errors import InvalidInput
from milvane.gateway.settings import GatewaySettings
from milvane.gateway.tls import TlsSettings
from milvane.inference.settings import InferenceSettings
from milvane.inference.weights import default_folder
from milvane.instances.selection import InstanceSettings
from milvane.instances.settings import LiteSettings
from milvane.jobs.settings import JobsSettings
from milvane.media.reading_settings import MediaReaderSettings
from milvane.media.settings import MediaSettings
from milvane.metering.alerts.settings import AlertSettings
from milvane.metering.settings import MeteringSettings
from milvane.providers.settings import ProvidersSettings
from milvane.sections import Section
from milvane.serving.access import AccessSettings
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.settings import ServingSettings
from milvane.storage.settings import StorageSettings

ENVIRONMENT_PREFIX = "MILVANE_"


class ServerSettings(Section):
    """Where the server listens and keeps its data."""

    data_dir: Path = Field(
        default=Path("milvane-data"), description="Folder of collections and all other state."
    )
    host: str = Field(default="127.0.0.1", description="Address that both ports listen on.")
    grpc_port: int = Field(
        default=19530, ge=0, le=65535, description="Port of the Milvus protocol; 0 for a free one."
    )
    http_port: int = Field(
        default=8080, ge=0, le=65535, description="Port of the HTTP APIs; 0 for a free one."
    )
    allow_unauthenticated_network: bool = Field(
        default=False,
        description="Listen on an address that other machines reach without asking anybody for a "
        "key. Only behind a proxy that authenticates.",
    )
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="Connections that each port holds open at once; one more is closed as it "
        "comes. A connection of the Milvus port takes three files of the process (`ulimit -n`).",
    )
    patience_s: float = Field(
        default=10.0,
        gt=0,
        description="How long an HTTP client may take for the head of a request, or stand still "
        "within a body, in seconds.",
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="Least severe log lines that are written.",
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """Every section; what a section's keys mean is written beside the code that uses it."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    server: ServerSettings = ServerSettings()
    apis: ApisSettings = ApisSettings()
    gateway: GatewaySettings = GatewaySettings()
    tls: TlsSettings = TlsSettings()
    access: AccessSettings = AccessSettings()
    control: ControlSettings = ControlSettings()
    metering: MeteringSettings = MeteringSettings()
    alerts: AlertSettings = AlertSettings()
    serving: ServingSettings = ServingSettings()
    cache: CacheSettings = CacheSettings()
    providers: ProvidersSettings = ProvidersSettings()
    inference: InferenceSettings = InferenceSettings()
    storage: StorageSettings = StorageSettings()
    jobs: JobsSettings = JobsSettings()
    media: MediaSettings = MediaSettings()
    media_reader: MediaReaderSettings = MediaReaderSettings()
    lite: LiteSettings = LiteSettings()
    otlp: OtlpSettings = OtlpSettings()
    deployments: dict[str, str] = Field(default_factory=dict)
    """Which weights serve a model, by its name; `*` for all that take texts alone."""
    instances: tuple[InstanceSettings, ...] = (InstanceSettings(),)
    """Milvus endpoints that are served, each on a port of its own."""

    @model_validator(mode="after")
    def _network_is_asked_for(self) -> Self:
        server = self.server
        is_private = is_loopback(server.host) or not self.access.is_open
        if not is_private and not server.allow_unauthenticated_network:
            raise ValueError(
                f"host {server.host!r} can be reached from other machines, and nobody is asked for "
                "a key: name who may use it in access.users or access.api_keys, use 127.0.0.1, or "
                "set server.allow_unauthenticated_network = true behind a proxy that authenticates"
            )
        return self

    @model_validator(mode="after")
    def _deployments_name_models(self) -> Self:
        try:
            deploy(self.deployments)
        except InvalidInput as error:
            raise ValueError(error.message) from error
        return self

    @model_validator(mode="after")
    def _instances_fit_together(self) -> Self:
        if not self.instances:
            raise ValueError("instances: name at least one Milvus endpoint, or leave the key out")
        names = [instance.name for instance in self.instances]
        if len(set(names)) < len(names):
            raise ValueError("instances: each needs a name of its own")
        if sum(instance.is_embedded for instance in self.instances) > 1:
            raise ValueError("instances: only one can be embedded; give the others a uri")
        if sum(instance.grpc_port is None for instance in self.instances) > 1:
            raise ValueError("instances: only one can have server.grpc_port; give grpc_port to all")
        return self

    def sections(self) -> dict[str, Section]:
        """Name the sections that have single values: all but the list of instances."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if isinstance(value, Section)}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by the library
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named by the library
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put flags before the environment, and that before the file."""
        file = cls.model_config.get("toml_file")
        sources = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls)) if file else sources


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings in force, and the source of each that is not a default."""

    settings: Settings
    sources: Mapping[str, str]
    """``section.key`` to ``flag``, ``environment`` or ``file``; absent keys have their default."""

    def source_of(self, key: str) -> str:
        """Say where the value of ``section.key`` comes from."""
        return self.sources.get(key, "default")


def load_settings(
    flags: Mapping[str, Mapping[str, Any]] | None = None, *, file: Path | None = None
) -> Effective:
    """
    Read the settings from all sources.

    Args:
        flags: Values given on the command line, by section and key.

        file: The TOML file; none to do without one.

    Raises:
        InvalidInput: If a source names an unknown key or a value that is not allowed; the message
            lists each, with what would be allowed.
    """
    if file is not None and not file.is_file():
        raise InvalidInput(f"the configuration file {file} does not exist")
    configured = type("Settings", (Settings,), {"model_config": SettingsConfigDict(toml_file=file)})
    flags = {section: dict(values) for section, values in (flags or {}).items() if values}
    try:
        settings = configured(**flags)
    except ValidationError as error:
        raise InvalidInput(_explain(error)) from error
    except ValueError as error:  # the TOML parser's own
        raise InvalidInput(f"the configuration file {file} cannot be read: {error}") from error
    return Effective(settings=settings, sources=_sources(settings, flags, file))


def _explain(error: ValidationError) -> str:
    lines = [
        f"  {'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return "\n".join(["the settings are wrong:", *lines])


def _sources(
    settings: Settings, flags: Mapping[str, Mapping[str, Any]], file: Path | None
) -> dict[str, str]:
    in_file = TomlConfigSettingsSource(type(settings), file)() if file else {}
    sources: dict[str, str] = {}
    for section, values in settings.sections().items():
        for key in type(values).model_fields:
            variable = f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()
            if key in flags.get(section, {}):
                sources[f"{section}.{key}"] = "flag"
            elif found := _variable(variable):
                sources[f"{section}.{key}"] = f"environment ({found})"
            elif key in in_file.get(section, {}):
                sources[f"{section}.{key}"] = f"file ({file})"
    return sources


def _variable(name: str) -> str | None:
    """Find a variable of the environment that gives a setting, or a part of one."""
    given = [each.upper() for each in os.environ]
    if name in given:
        return name
    return f"{name}__..." if any(each.startswith(f"{name}__") for each in given) else None


def provider_environment() -> dict[str, str]:
    """Read the variables in which Milvus takes the credentials of providers."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("MILVUS_", "MILVUSAI_"))
    }


def hub_environment() -> dict[str, str]:
    """Read the variables in which people name their mirror of a hub, and their token."""
    return {
        name: os.environ[name]
        for name in ("HF_ENDPOINT", "HF_TOKEN", "MODELSCOPE_ENDPOINT")
        if os.environ.get(name)
    }


def has_collector(settings: Settings) -> bool:
    """Say whether metrics are to be pushed: by the settings, or by OpenTelemetry's variables."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return settings.otlp.endpoint is not None or any(map(os.environ.get, names))


def weights_dir(settings: Settings) -> Path:
    """Say where weights are kept."""
    return settings.inference.weights_dir or default_folder(os.environ, Path.home())
