"""What deploy/ hands to Docker and Kubernetes: it renders, fits the schemas, agrees with the server's own flags and limits,
and leaves nothing open."""

import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from serving import ROOT, VITOWER, serving

DEPLOY = ROOT / "deploy"
OVERLAYS = ["base", "overlays/cpu", "overlays/gpu", "overlays/exec-probes", "overlays/locked", "monitoring"]
SERVERS = OVERLAYS[1:5]


def run(*command, **environment):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/tmp", **environment})
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


@functools.cache
def kustomized(overlay):
    kubectl = shutil.which("kubectl")
    assert kubectl, "Debian's package kubernetes-client is not installed: scripts/install.sh --tests"
    return list(yaml.safe_load_all(run(kubectl, "kustomize", DEPLOY / "kubernetes" / overlay)))


def one(documents, kind):
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} documents are a {kind}"
    return found[0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_renders_and_fits_the_schemas(overlay):
    documents = kustomized(overlay)
    assert documents
    for document in documents:
        if document["apiVersion"].startswith("monitoring.coreos.com/"):
            continue  # the Operator's, which Kubernetes' schemas do not hold
        for version in ["1.27", kubernetes_validate.latest_version()]:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("overlay", SERVERS)
def test_pods_are_confined_and_drain_before_they_are_killed(overlay):
    pod = one(kustomized(overlay), "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                            "capabilities": {"drop": ["ALL"]}}
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    drain = seconds(environment["VITOWER_DRAIN_DELAY"]) + seconds(environment["VITOWER_DRAIN_TIMEOUT"])
    assert seconds(environment["VITOWER_DRAIN_DELAY"]) > 0 and "lifecycle" not in container
    assert pod["terminationGracePeriodSeconds"] >= drain + 5
    for probe in ["startupProbe", "readinessProbe"]:
        assert ("exec" in container[probe]) == ("grpc" not in container[probe]) == (overlay in ("overlays/exec-probes", "overlays/locked"))


def locks_made_as_documented(folder):
    """By the openssl commands of docs/security.md, where the overlay mounts them."""
    block = next(block for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/security.md").read_text(), re.M | re.S)
                 if block.startswith("openssl"))
    for name in ["tls", "tokens"]:
        (folder / name).mkdir()
    subprocess.run(["sh", "-ec", block], cwd=folder / "tls", check=True, capture_output=True)
    (folder / "tls/tokens").rename(folder / "tokens/tokens")


@pytest.mark.parametrize("overlay", ["overlays/exec-probes", "overlays/locked"])
def test_the_probes_of_an_overlay_find_its_server_serving(overlay, tmp_path):
    locks_made_as_documented(tmp_path)
    [container] = one(kustomized(overlay), "Deployment")["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"].replace("/locks", str(tmp_path)) for entry in container["env"]}
    program, command, flag, address = container["readinessProbe"]["exec"]["command"]
    assert (program, command, flag, address) == ("/usr/bin/vitower", "healthcheck", "--server", "localhost:50051")
    with serving(env=environment) as server:
        def probe(**others):
            return subprocess.run([VITOWER, command, flag, f"localhost:{server.address.split(':')[1]}"],
                                  env={**environment, **others}, capture_output=True, text=True)
        assert probe().returncode == 0, probe().stderr
        assert overlay != "overlays/locked" or probe(VITOWER_TLS_CLIENT_CERT="", VITOWER_TLS_CLIENT_KEY="").returncode == 1


@pytest.mark.parametrize("overlay", SERVERS)
def test_selectors_select_the_pods_and_nothing_goes_out(overlay):
    documents = kustomized(overlay)
    labels = one(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    service, policy = one(documents, "Service"), one(documents, "NetworkPolicy")
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["selector"].items() <= labels.items()
    assert one(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["egress"] == [] and "Egress" in policy["spec"]["policyTypes"]
    [metric] = one(documents, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "vitower_queue_patches"


def test_the_monitor_scrapes_a_port_of_the_service_under_the_job_that_the_rules_name():
    service = one(kustomized("overlays/cpu"), "Service")
    monitor = one(kustomized("monitoring"), "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert service["metadata"]["name"] == "vitower"  # becomes the job


def test_the_operators_rules_are_those_of_prometheus(tmp_path):
    run(sys.executable, DEPLOY / "kubernetes" / "make_rules.py", tmp_path / "made.yaml")
    made = (tmp_path / "made.yaml").read_text()
    assert made == (DEPLOY / "kubernetes/monitoring/prometheusrule.yaml").read_text(), "run deploy/kubernetes/make_rules.py"
    plain = [group for name in ["recording", "alerts"]
             for group in yaml.safe_load((DEPLOY / f"prometheus/rules/{name}.yml").read_text())["groups"]]
    assert yaml.safe_load(made)["spec"]["groups"] == plain


@functools.cache
def composed(*flags, **environment):
    compose = shutil.which("docker-compose")
    assert compose, "Debian's package docker-compose is not installed: scripts/install.sh --tests"
    return yaml.safe_load(run(compose, "-f", DEPLOY / "docker-compose.yml", *flags, "config", **environment))["services"]


def test_compose_confines_every_service_and_publishes_to_this_host_only():
    services = composed("--profile", "gpu")
    assert set(services) == {"vitower", "vitower-gpu", "prometheus", "grafana"}
    for name, service in services.items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["mem_limit"] and service["pids_limit"] and "cpus" in service, name
        assert not service["image"].endswith(":latest") and ":" in service["image"], name
        assert service["ports"] and all(port.startswith("127.0.0.1:") for port in map(published, service["ports"])), name
        assert "healthcheck" in service or "vitower" in name, name  # the image of vitower brings its own


def published(port):
    return port if isinstance(port, str) else f"{port.get('host_ip', '0.0.0.0')}:{port['published']}"


def test_compose_serves_the_built_in_tower_or_a_checkpoint(tmp_path):
    services = composed()
    assert {name for name, service in services.items() if not service.get("profiles")} == {"vitower", "prometheus", "grafana"}
    assert services["vitower"]["environment"]["VITOWER_MODEL"] == "random:2b"
    service = composed(MODEL_DIR=str(tmp_path))["vitower"]
    assert service["environment"]["VITOWER_MODEL"] == str(tmp_path)
    assert any(str(tmp_path) in json.dumps(volume) for volume in service["volumes"])


def test_compose_takes_the_limits_it_is_given():
    service = composed(VITOWER_MEMORY="3g", VITOWER_CPUS="1.5")["vitower"]
    assert (service["mem_limit"], float(service["cpus"])) == ("3g", 1.5)


def flags_set_by_manifests():
    for overlay in SERVERS:
        yield from ((e["name"], e["value"]) for e in one(kustomized(overlay), "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"])
    for service in composed("--profile", "gpu").values():
        yield from ((name, value) for name, value in service.get("environment", {}).items() if name.startswith("VITOWER_"))


def test_every_variable_is_a_flag_of_serve_or_of_its_probe():
    known = "".join(run(VITOWER, command, "--print-config", VITOWER_MODEL="random:tiny")
                    for command in ["serve", "healthcheck"])
    for name, value in set(flags_set_by_manifests()):
        assert re.search(rf"^(# )?{name.removeprefix('VITOWER_').lower().replace('_', '-')}\b", known, re.M), f"{name}={value}"


def test_compose_waits_longer_than_a_drain():
    drain = re.search(r"^drain-timeout\W+(\d+)s", run(VITOWER, "serve", "--print-config", VITOWER_MODEL="random:tiny"), re.M)
    assert seconds(composed()["vitower"]["stop_grace_period"]) >= int(drain[1]) + 5


def test_the_image_is_confined_and_gets_signals():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert 'ENTRYPOINT ["/usr/bin/vitower"]' in lines and "USER 10001:10001" in lines and "STOPSIGNAL SIGTERM" in lines
    assert any('"/usr/bin/vitower", "healthcheck"' in line for line in lines)
    assert all(":" in line and ":latest" not in line for line in lines if re.match(r"ARG (BUILD|RUNTIME)_IMAGE", line))


@pytest.mark.parametrize("arguments, builds", [({}, False), ({"CMAKE_ARGUMENTS": "-DCMAKE_UNITY_BUILD=ON"}, False),
                                               ({"CMAKE_ARGUMENTS": "-DVITOWER_WITH_CUDA=ON"}, True),
                                               ({"VITOWER_TORCH_INDEX": "index"}, True), ({"PIP_FIND_LINKS": "page"}, True)])
def test_a_build_for_cpus_has_to_say_where_torch_comes_from(arguments, builds):
    check = re.search(r"^RUN (case .*?^ *esac)$", (ROOT / "Dockerfile").read_text(), re.M | re.S)[1]
    done = subprocess.run(["sh", "-c", check], env=arguments, capture_output=True, text=True)
    assert (done.returncode == 0) == builds and ("VITOWER_TORCH_INDEX" in done.stderr) != builds


def test_the_image_is_built_from_every_folder_that_cmake_adds():
    folders = re.findall(r"add_subdirectory\((\w+)\)", (ROOT / "CMakeLists.txt").read_text())
    context = (ROOT / ".dockerignore").read_text().splitlines()
    assert folders
    assert [folder for folder in folders if folder != "tests" and f"!{folder}" not in context] == []


def test_the_bill_of_materials_names_every_library_with_version_and_licence():
    bill = json.loads(run(sys.executable, DEPLOY / "sbom.py", VITOWER))
    parts = {part["name"]: part for part in bill["components"]}
    assert all(part["version"] and part["licenses"] for part in parts.values())
    assert parts["torch"]["purl"].startswith("pkg:pypi/torch@")
    assert any(name.startswith("libgrpc++") for name in parts) and "nlohmann-json3-dev" in parts
    loaded = re.findall(r"=> (/\S+)", run("ldd", VITOWER))
    named = {p["value"] for part in parts.values() for p in part.get("properties", [])}
    assert [path for path in loaded if path not in named and not pathlib.Path(path).is_relative_to(VITOWER.parents[1])] == []
