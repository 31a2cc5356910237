"""The command line, as a person uses it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from certificates import Authority
from milvane.bootstrap.starting import SERVER_LOCK_NAME
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS, SERVED_BY
from milvane.inference.weights import folder_of
from milvane.testing.servers import MilvaneProcess
from weights import default_weights_dir


def milvane(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program and wait for its end."""
    return subprocess.run(
        [sys.executable, "-m", "milvane.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=os.environ | {"COLUMNS": "200"} | environment,
    )


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    """`--help` must not pay for the engine, the protocol or a tensor library."""
    script = (
        "import sys, milvane.cli.main\n"
        "heavy = {'torch', 'pymilvus', 'openvino', 'grpc', 'pandas', 'milvus_lite'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("doctor",),
        ("demo",),
        ("migrate",),
        ("export",),
        ("import",),
        ("models",),
        ("models", "list"),
        ("models", "pull"),
        ("models", "show"),
        ("models", "compare"),
    ],
)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    """Each command has help, and those that do something have an example."""
    run = milvane(*command, "--help")
    assert run.returncode == 0
    assert "Usage" in run.stdout
    if command and command != ("models",):
        assert "Example" in run.stdout


def test_models_say_openly_what_serves_them() -> None:
    """The list names the weights behind each model, and that they are not the hosted ones."""
    run = milvane("models", "list")
    assert run.returncode == 0
    rows = {line.split()[0]: line for line in run.stdout.splitlines() if line}
    for model in MODELS.values():
        assert SERVED_BY[model.name] in rows[model.name]
    assert "not those of the hosted models" in run.stdout


def test_model_of_images_says_what_stands_in_for_it() -> None:
    """Its contract is shown, the weights of the package, and what to run for its family's own."""
    run = milvane("models", "show", "qwen3-vl-embedding")
    assert run.returncode == 0
    facts = ("2560", "text, image, video", "embedded-pictures", "little of photographs")
    for fact in (*facts, "milvane models pull qwen3-vl-embedding"):
        assert fact in run.stdout
    run = milvane("models", "pull", "multimodal-embedding-v1")
    assert run.returncode == 0
    assert "embedded-pictures are part of Milvane: there is nothing to fetch" in run.stderr


def test_model_is_shown_with_contract_and_weights() -> None:
    """One model: what it offers, and where its weights lie."""
    run = milvane("models", "show", "text-embedding-v4")
    assert run.returncode == 0
    for fact in ("64 to 2048", "1024", "8192", "all-minilm-l6-v2", "Apache-2.0"):
        assert fact in run.stdout


def test_precision_is_compared_on_texts_of_ones_own(tmp_path: Path) -> None:
    """Each precision has a line; what cannot be compared is told plainly."""
    default_weights_dir()
    texts = tmp_path / "texts.txt"
    texts.write_text("a cat\na dog\n\nthe weather in May\na cat\n", encoding="utf-8")
    asked = ("models", "compare", "text-embedding-v4", "int8", "int4", "--texts")
    run = milvane(*asked, str(texts))
    assert run.returncode == 0, run.stderr
    assert "all-minilm-l6-v2, 3 texts, compared with f32" in run.stdout
    cosines = {line.split()[0]: float(line.split()[1]) for line in run.stdout.splitlines()[3:]}
    assert 0.8 < cosines["int4"] < cosines["int8"] < 1
    texts.write_text("one\n", encoding="utf-8")
    assert "needs at least 3 different texts" in milvane(*asked, str(texts)).stderr
    run = milvane("models", "compare", "all-minilm-l6-v2", "int2")
    assert run.stderr == "milvane: int2 is no precision: known are auto, bf16, f32, int8, int4\n"
    run = milvane("models", "compare", "embedded-pictures")
    assert "embedded-pictures take images" in run.stderr


def test_vocabulary_of_token_ids_is_shown_and_pulled() -> None:
    """It is shown and fetched by name, and what is here already is only checked."""
    default_weights_dir()
    run = milvane("models", "show", "cl100k")
    assert run.returncode == 0
    for fact in ("litellm", "MIT", "2 MB"):
        assert fact in run.stdout
    assert "not here" not in run.stdout
    run = milvane("models", "pull", "cl100k")
    assert run.returncode == 0, run.stderr
    assert "here and checked" in run.stderr


def test_weights_come_without_the_vocabulary_where_it_cannot_be_had(tmp_path: Path) -> None:
    """An index that lacks it keeps nobody from the weights; the message says what is missing."""
    weights = folder_of(ALL_MINILM_L6_V2, default_weights_dir())
    (tmp_path / weights.name).symlink_to(weights)
    run = milvane("models", "pull", MILVANE_INFERENCE__WEIGHTS_DIR=str(tmp_path), PIP_NO_INDEX="1")
    assert run.returncode == 0, run.stderr
    assert "all-minilm-l6-v2: here and checked" in run.stderr
    assert "Without cl100k, inputs that are token ids are refused" in run.stderr
    run = milvane("models", "show", "cl100k", MILVANE_INFERENCE__WEIGHTS_DIR=str(tmp_path))
    assert "not here; run `milvane models pull cl100k`" in run.stdout


def test_unknown_model_is_one_plain_line() -> None:
    """A mistake is told without a traceback, with what would be right."""
    run = milvane("models", "show", "gpt")
    assert run.returncode == 1
    assert run.stderr.startswith("milvane: model 'gpt' is not in the catalogue")
    assert "Traceback" not in run.stderr


def test_doctor_shows_settings_with_their_source(tmp_path: Path) -> None:
    """Flags, environment, file and defaults are told apart."""
    file = tmp_path / "milvane.toml"
    file.write_text("[serving]\ncut_long_inputs = true\n")
    run = milvane(
        *("doctor", "--config", str(file), "--data-dir", str(tmp_path / "data")),
        MILVANE_LITE__FLUSH_MAX_ROWS="77",
        MILVANE_MEDIA__BUCKET__ENDPOINT="http://10.0.0.1:9000",
        MILVANE_MEDIA__BUCKET__BUCKET="pictures",
        MILVANE_MEDIA__BUCKET__ACCESS_KEY_ID="an-id",
        MILVANE_MEDIA__BUCKET__SECRET_ACCESS_KEY="s3cret",
    )
    lines = {line.split()[0]: line for line in run.stdout.splitlines() if line.strip()}
    assert f"file ({file})" in lines["serving.cut_long_inputs"]
    assert "77" in lines["lite.flush_max_rows"]
    assert "environment (MILVANE_LITE__FLUSH_MAX_ROWS)" in lines["lite.flush_max_rows"]
    assert "environment (MILVANE_MEDIA__BUCKET__...)" in lines["media.bucket"]
    assert "pictures" in lines["media.bucket"]
    assert "s3cret" not in run.stdout
    assert lines["server.data_dir"].endswith("flag")
    assert lines["server.http_port"].endswith("default")
    assert "milvus-lite" in run.stdout


def test_doctor_looks_at_the_certificate(tmp_path: Path) -> None:
    """A good one is told with its end, and one that has expired is a problem."""
    authority = Authority(tmp_path)
    for pair, problem in (
        (authority.issue("good"), ""),
        (authority.issue("old", days=-1), "old.crt has expired"),
        (authority.issue("locked", password=b"secret"), "locked.key is encrypted"),
    ):
        run = milvane(
            *("doctor", "--data-dir", str(tmp_path / "data")),
            MILVANE_TLS__CERTIFICATE=str(pair.certificate),
            MILVANE_TLS__PRIVATE_KEY=str(pair.key),
        )
        assert problem in run.stdout
        assert ("certificate valid until 20" in run.stdout) is not bool(problem)
        assert run.returncode == int(bool(problem))


def test_doctor_shows_no_secret_and_finds_a_damaged_file(tmp_path: Path) -> None:
    """Credentials are named and hidden; a `milvus.yaml` that cannot be read is a problem."""
    damaged = tmp_path / "milvus.yaml"
    damaged.write_text("credential: {one: {apikey: hush-in-yaml}")
    file = tmp_path / "milvane.toml"
    file.write_text(
        f"[providers]\nmilvus_yaml = {str(damaged)!r}\n"
        '[providers.credential.two]\napikey = "hush-in-toml"\n'
    )
    run = milvane("doctor", "--config", str(file), "--data-dir", str(tmp_path / "data"))
    assert run.returncode == 1
    assert f"{damaged} is not valid YAML, line" in run.stdout
    assert "two" in run.stdout
    assert "hush" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[server]\nportt = 1\n", "server.portt"),
        ("[server]\ngrpc_port = 99999\n", "server.grpc_port"),
        ("[server\n", "cannot be read"),
        ('[server]\nhost = "0.0.0.0"\n', "can be reached from other machines"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, content: str, message: str) -> None:
    """A wrong file ends the start with the key that is wrong."""
    file = tmp_path / "milvane.toml"
    file.write_text(content)
    run = milvane("serve", "--config", str(file))
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_health_says_what_the_ready_line_says(server: MilvaneProcess) -> None:
    """After the ready line both probes are content."""
    assert httpx.get(f"{server.http_url}/health/live").status_code == 200
    ready = httpx.get(f"{server.http_url}/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


def test_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """Two writers on one data directory would destroy it."""
    with MilvaneProcess(tmp_path / "data"):
        run = milvane(
            *("serve", "--data-dir", str(tmp_path / "data"), "--grpc-port", "0"),
            *("--http-port", "0"),
        )
        assert run.returncode == 1
        assert "another Milvane uses" in run.stderr
        doctor = milvane("doctor", "--data-dir", str(tmp_path / "data"))
        assert "by a running server" in doctor.stdout


def test_directory_of_another_server_is_left_alone(tmp_path: Path) -> None:
    """Nothing is opened or migrated in a directory before it is one's own."""
    with FileLock(tmp_path / SERVER_LOCK_NAME):
        run = milvane("serve", "--data-dir", str(tmp_path), "--grpc-port", "0", "--http-port", "0")
    assert run.returncode == 1
    assert "another Milvane uses" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == [SERVER_LOCK_NAME]


def test_taken_port_is_named(server: MilvaneProcess, tmp_path: Path) -> None:
    """The message says which port, and how to choose another."""
    http_port = server.http_url.rpartition(":")[2]
    grpc_port = server.grpc_uri.rpartition(":")[2]
    for ports, option in (
        ((http_port, "0"), "--http-port"),
        (("0", grpc_port), "--grpc-port"),
    ):
        run = milvane(
            *("serve", "--data-dir", str(tmp_path / "data")),
            *("--http-port", ports[0], "--grpc-port", ports[1]),
        )
        assert run.returncode == 1
        assert "cannot listen on 127.0.0.1" in run.stderr
        assert option in run.stderr


def test_idle_server_stops_within_ten_seconds(tmp_path: Path) -> None:
    """SIGTERM ends the server with status 0, and nothing of it is left behind."""
    server = MilvaneProcess(tmp_path / "data")
    server.start()
    begun = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - begun < 10
    assert not list((tmp_path / "data").rglob("*.sock"))


def test_demo_runs_the_example_and_stops() -> None:
    """The first command of the README, without its installation."""
    run = milvane("demo")
    assert run.returncode == 0, run.stderr
    assert "id=1, distance=0." in run.stdout
    assert "Stopped the server (exit status 0)." in run.stdout
    assert "Try next" in run.stdout
