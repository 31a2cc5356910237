"""`milvane doctor`: what is in force, what is here, and what is wrong."""

from __future__ import annotations

import platform
import shutil
import socket
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from filelock import FileLock, Timeout

from milvane.domain.catalogue import PICTURE_WEIGHTS, deploy
from milvane.domain.errors import InvalidInput, ServiceError
from milvane.gateway.tls import expires_at, find_flaws, open_context
from milvane.inference.installed import find_set
from milvane.inference.weights import folder_of, is_present
from milvane.instances.lite.supervisor import LOCK_NAME
from milvane.providers.configuration import read_file
from milvane.settings import Effective, weights_dir

_PACKAGES = (
    "milvane",
    "milvus-lite",
    "pymilvus",
    "grpcio",
    "protobuf",
    "openvino",
    "tokenizers",
    "fastapi",
    "uvicorn",
)
_LOW_DISK_BYTES = 2 * 1024**3


@dataclass(slots=True)
class Report:
    """All that was found, in the order in which it is printed."""

    settings: list[tuple[str, str, str]] = field(default_factory=list)
    """Key, effective value, source."""
    versions: list[tuple[str, str]] = field(default_factory=list)
    state: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def examine(effective: Effective) -> Report:
    """Look at settings, versions, weights, data directory and ports; change nothing."""
    report = Report()
    _examine_settings(effective, report)
    _examine_versions(report)
    _examine_weights(effective, report)
    _examine_providers(effective, report)
    _examine_tls(effective, report)
    _examine_data(effective, report)
    _examine_collections(effective.settings.server.data_dir.resolve(), report)
    _examine_ports(effective, report)
    return report


def _examine_settings(effective: Effective, report: Report) -> None:
    for section, values in effective.settings.sections().items():
        for key in type(values).model_fields:
            name = f"{section}.{key}"
            # A secret prints itself as asterisks, also inside a list or mapping.
            report.settings.append((name, str(getattr(values, key)), effective.source_of(name)))
    for instance in effective.settings.instances:
        where = instance.uri or "embedded Milvus Lite"
        report.settings.append((f"instances.{instance.name}", where, ""))


def _examine_versions(report: Report) -> None:
    report.versions.append(("python", platform.python_version()))
    report.versions.append(("platform", f"{platform.system()} {platform.machine()}"))
    for package in _PACKAGES:
        found = _installed_version(package)
        report.versions.append((package, found or "missing"))
        if found is None:
            report.problems.append(f"{package} is not installed: install milvane again")


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _examine_weights(effective: Effective, report: Report) -> None:
    folder = weights_dir(effective.settings)
    for name in dict.fromkeys(deploy(effective.settings.deployments).values()):
        if name == PICTURE_WEIGHTS:
            report.state.append((f"weights {name}", "in this package"))
            continue
        try:
            weights = find_set(effective.settings.inference.weights_of(name), folder)
        except ServiceError as error:
            report.state.append((f"weights {name}", "cannot be used"))
            report.problems.append(error.message)
            continue
        found = is_present(weights, folder)
        where = str(folder_of(weights, folder)) if found else f"not in {folder}"
        if remote := effective.settings.inference.remote.get(name):
            where = f"run by {remote.dialect} at {', '.join(remote.urls)}; {where}"
        report.state.append((f"weights {name}", where))
        if not found:
            report.problems.append(f"the weights {name} are missing: `milvane models pull {name}`")


def _examine_providers(effective: Effective, report: Report) -> None:
    path = effective.settings.providers.milvus_yaml
    if path is None:
        return
    try:
        read_file(path)
    except InvalidInput as error:
        report.problems.append(error.message)
    else:
        report.state.append(("milvus.yaml", f"{path}, read"))


def _examine_tls(effective: Effective, report: Report) -> None:
    tls = effective.settings.tls
    if not tls.is_on:
        report.state.append(("TLS", "off"))
        return
    try:
        open_context(tls, [])
        report.problems += find_flaws(tls)
        until = expires_at(tls)
    except InvalidInput as error:
        report.problems.append(error.message)
        return
    asked = ", clients need a certificate" if tls.client_ca else ""
    validity = f"certificate valid until {until:%Y-%m-%d}" if until else "certificate not valid now"
    report.state.append(("TLS", f"{validity}{asked}"))


def _examine_data(effective: Effective, report: Report) -> None:
    folder = effective.settings.server.data_dir.resolve()
    if not folder.exists():
        report.state.append(("data directory", f"{folder}, made at the first start"))
    elif not folder.is_dir():
        report.problems.append(f"{folder} is not a folder: choose another with --data-dir")
        return
    else:
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        report.state.append(("data directory", f"{folder}, {size / 1e6:.1f} MB"))
        report.state.append(("in use", "by a running server" if _is_locked(folder) else "no"))
    _examine_disk(folder, report)


def _examine_collections(folder: Path, report: Report) -> None:
    if not folder.is_dir():
        return
    if _is_locked(folder):
        report.state.append(("collections", "not compared while a server runs; its log says"))
        return
    from milvane.instances.lite.audit_files import examine as compare_files
    from milvane.instances.lite.repair_files import plan_directory

    examined = compare_files(folder)
    findings = [finding.message for each in examined.values() for finding in each.findings]
    shown = f"{len(examined)}, {len(findings) or 'nothing'} to say about what they hold"
    report.state.append(("collections", shown))
    report.problems += findings
    report.problems += [
        f"{step.path}: {step.reason}; `milvane doctor --repair` would {step.action.value}"
        for step in plan_directory(folder, reads_indexes=False)
    ]


def _is_locked(folder: Path) -> bool:
    if not (folder / LOCK_NAME).exists():
        return False
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def _examine_disk(folder: Path, report: Report) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    report.state.append(("free disk", f"{free / 1e9:.1f} GB"))
    if free < _LOW_DISK_BYTES:
        report.problems.append(
            f"only {free / 1e9:.1f} GB are free below {existing}: writes will soon fail"
        )


def _examine_ports(effective: Effective, report: Report) -> None:
    server = effective.settings.server
    for key in ("grpc_port", "http_port"):
        port = getattr(server, key)
        state = "any free one" if port == 0 else _port_state(server.host, port)
        report.state.append((f"{key} {port}", state))


def _port_state(host: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"taken ({error.strerror})"
    return "free"


def print_report(report: Report) -> None:
    """Print a report for people; no line is wrapped, so that it can be searched."""
    typer.echo("Settings (flags, then environment, then file, then defaults)")
    for key, value, source in report.settings:
        typer.echo(f"  {key:<44} {value:<24} {source}")
    typer.echo("\nVersions")
    for name, found in report.versions:
        typer.echo(f"  {name:<44} {found}")
    typer.echo("\nState")
    for name, found in report.state:
        typer.echo(f"  {name:<44} {found}")
    typer.echo("\nProblems")
    for problem in report.problems or ["none found"]:
        typer.echo(f"  {problem}")
