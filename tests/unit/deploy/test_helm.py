"""The chart, rendered by the real Helm and checked against Kubernetes' schemas."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.settings import Settings
from tasks.settings.environment import SETTINGS
from tests.unit.deploy.roles import assert_every_queue_is_served, consumed, settings_of
from tests.unit.deploy.tools import CHART, answer, chart, program

KUBERNETES = ("1.29", "1.37")
# Kinds of KEDA and the Prometheus operator: no package has their schemas, so their fields are listed here.
OTHERS = {
    "ScaledObject": {
        "scaleTargetRef",
        "minReplicaCount",
        "maxReplicaCount",
        "pollingInterval",
        "cooldownPeriod",
        "advanced",
        "triggers",
    },
    "TriggerAuthentication": {"secretTargetRef"},
    "PodMonitor": {"selector", "podMetricsEndpoints"},
}
REDIS = (
    "autoscaling.enabled=true,autoscaling.trigger=redis,autoscaling.redis.address=r:6379,"
    "autoscaling.redis.usernameKey=user,autoscaling.redis.passwordKey=password,autoscaling.redis.tls=true"
)
COMBINATIONS = {
    "default": (),
    "cpu": ("node.gpus=0",),
    "amd": ("node.gpus=2", "node.gpuResource=amd\\.com/gpu", "node.supplementalGroups={44,109}"),
    "traced": ("settings.TAMIS_TRACING=otlp", "settings.OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318"),
    "four-gpus-that-scale": ("node.gpus=4", "autoscaling.enabled=true", "metrics.podMonitor.enabled=true"),
    "redis-scaler": (REDIS, "node.storageClass=fast"),
    "files": ("files.manifest\\.toml=text", "settings.TAMIS_MANIFEST=/etc/tamis/manifest.toml", "priorityClassName=p"),
    "least": (
        "networkPolicy.enabled=false",
        "podDisruptionBudget.enabled=false",
        "beat.replicas=0",
        "serviceAccount.create=false",
    ),
}
every_combination = pytest.mark.parametrize("values", COMBINATIONS.values(), ids=COMBINATIONS)


def pods(values: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return name of the workload -> its pod's spec."""
    return {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]
        for document in chart(*values)
        if document["kind"] in {"Deployment", "StatefulSet"}
    }


def variables(container: dict[str, Any], values: tuple[str, ...]) -> dict[str, str]:
    """Return a container's variables, those of the ConfigMap included."""
    (shared,) = [one["data"] or {} for one in chart(*values) if one["metadata"]["name"] == "t-tamis-settings"]
    own = {one["name"]: one.get("value", "t-tamis-node-0") for one in container["env"]}
    return {**shared, **own}


def test_helm_lint_reports_nothing() -> None:
    assert "[WARNING]" not in answer("helm", "lint", "--strict", CHART)


@every_combination
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_every_rendered_object(values: tuple[str, ...], version: str) -> None:
    import kubernetes_validate

    kinds = set()
    for document in chart(*values):
        kinds.add(document["kind"])
        if document["kind"] in OTHERS:
            assert set(document["spec"]) <= OTHERS[document["kind"]]
        else:
            kubernetes_validate.validate(document, version, strict=True)
    assert {"StatefulSet", "Deployment", "ConfigMap"} <= kinds


@every_combination
def test_every_container_has_existing_settings_and_a_valid_command(values: tuple[str, ...], tmp_path: Path) -> None:
    consumers = []
    for pod in pods(values).values():
        for container in pod["containers"]:
            given = variables(container, values)
            settings = settings_of(given, tmp_path)
            arguments = [word.replace("$(TAMIS_NODE)", settings.node.name) for word in container["args"]]
            consumers.append(consumed(arguments))
            assert pod["terminationGracePeriodSeconds"] > settings.decode.limits.timeout_seconds
    assert_every_queue_is_served(consumers, "t-tamis-node-0")


@every_combination
def test_every_container_has_only_the_privileges_that_it_needs(values: tuple[str, ...]) -> None:
    for pod in pods(values).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_a_node_s_workers_share_its_spool_have_a_device_and_a_port_each_and_time_to_warm_up() -> None:
    values = COMBINATIONS["four-gpus-that-scale"]
    io, *inference = pods(values)["t-tamis-node"]["containers"]
    assert [one["name"] for one in inference] == ["gpu0", "gpu1", "gpu2", "gpu3"]
    assert {one["resources"]["limits"]["nvidia.com/gpu"] for one in inference} == {1}
    assert len({variables(one, values)["TAMIS_METRICS_PORT"] for one in (io, *inference)}) == 5
    assert {variables(one, values)["TAMIS_GPU_WORKERS"] for one in (io, *inference)} == {"4"}
    assert {one["volumeMounts"][0]["mountPath"] for one in (io, *inference)} == {"/var/lib/tamis"}
    for one in inference:
        probe = one["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 3600
        assert (one["livenessProbe"]["httpGet"]["path"], probe["httpGet"]["path"]) == ("/livez", "/readyz")


def test_on_amds_resource_workers_have_the_rocm_image_a_device_each_and_the_drivers_groups() -> None:
    pod = pods(COMBINATIONS["amd"])["t-tamis-node"]
    _, *inference = pod["containers"]
    assert [one["resources"]["limits"]["amd.com/gpu"] for one in inference] == [1, 1]
    assert all(one["image"].endswith("-rocm") for one in inference)
    assert pod["securityContext"]["supplementalGroups"] == [44, 109]
    assert pods(())["t-tamis-node"]["containers"][1]["image"].endswith("-cuda")


def test_the_spool_s_limit_is_below_its_volume_s() -> None:
    pod = pods(())["t-tamis-node"]
    (size,) = [one["emptyDir"]["sizeLimit"] for one in pod["volumes"] if one["name"] == "state"]
    spool_bytes = int(variables(pod["containers"][0], ())["TAMIS_DISK_LIMIT_BYTES"])
    assert int(size.removesuffix("Gi")) * 1024**3 > 1.1 * spool_bytes


def test_only_the_monitoring_namespace_reaches_a_pod_and_only_its_metrics() -> None:
    (policy,) = [one for one in chart(*COMBINATIONS["four-gpus-that-scale"]) if one["kind"] == "NetworkPolicy"]
    (ingress,) = policy["spec"]["ingress"]
    assert ingress["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert ingress["ports"] == [{"protocol": "TCP", "port": 9540, "endPort": 9544}]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_scaling_uses_existing_queues_and_metrics() -> None:
    from tasks.queues import Queue
    from tasks.telemetry.metrics.fleet import FAMILIES

    scaled = [one["spec"] for one in chart(*COMBINATIONS["four-gpus-that-scale"]) if one["kind"] == "ScaledObject"]
    queries = [one["triggers"][0]["metadata"]["query"] for one in scaled]
    assert queries[0] == (
        'sum(max by (queue) (tamis_queue_messages{namespace="sifting",queue=~"io|gpu|gpu[.].+"}))'
        ' + (max(tamis_unacked_messages{namespace="sifting"}) or vector(0))'
    )
    assert {"tamis_queue_messages", "tamis_unacked_messages"} <= {family.name for family in FAMILIES}
    targets = {(one["scaleTargetRef"]["kind"], one["scaleTargetRef"]["name"]) for one in scaled}
    assert targets == {("StatefulSet", "t-tamis-node"), ("Deployment", "t-tamis-results")}
    lists = [
        trigger["metadata"]["listName"]
        for one in chart(*COMBINATIONS["redis-scaler"])
        if one["kind"] == "ScaledObject"
        for trigger in one["spec"]["triggers"]
    ]
    assert lists == [f"tamis:{queue}" for queue in (Queue.IO, Queue.GPU, Queue.RESULTS)]


@pytest.mark.parametrize(
    "mistake",
    [
        "settings.TAMIS_NODE=n1",
        "settings.TAMIS_BROKER_URL=redis://r",
        "settings.FOO=1",
        "settings.TAMIS_MANIFST=/etc/tamis/manifest.toml",
        "settings.TAMIS_SHARDROWS=5",
        "image.digest=latest",
        "node.gpu=4",
        "secrets.existing=",
        "secrets.keys.TAMIS_MANIFEST=x",
    ],
)
def test_invalid_values_are_refused(mistake: str) -> None:
    command = [program("helm"), "template", "t", str(CHART), "--set-string", mistake]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr


def test_the_redis_scaler_logs_in_as_the_user_of_the_secret() -> None:
    objects = chart(*COMBINATIONS["redis-scaler"])
    (login,) = [one for one in objects if one["kind"] == "TriggerAuthentication"]
    references = {one["parameter"]: (one["name"], one["key"]) for one in login["spec"]["secretTargetRef"]}
    assert references == {"username": ("tamis", "user"), "password": ("tamis", "password")}
    triggers = [trigger for one in objects if one["kind"] == "ScaledObject" for trigger in one["spec"]["triggers"]]
    assert {trigger["authenticationRef"]["name"] for trigger in triggers} == {login["metadata"]["name"]}
    assert {trigger["metadata"]["enableTLS"] for trigger in triggers} == {"true"}


def test_a_release_of_any_name_has_pods_with_valid_node_names() -> None:
    text = answer("helm", "template", "a.release-whose-name-is-as-long-as-helm-will-take.it", CHART)
    names = [
        one["metadata"]["name"] for one in yaml.safe_load_all(text) if one["kind"] in {"Deployment", "StatefulSet"}
    ]
    for name in names:
        assert Settings.from_env({"TAMIS_NODE": f"{name}-0123456789-abcde"}).node.name


def test_the_schema_names_every_setting_that_a_values_file_may_give() -> None:
    names = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["propertyNames"]
    enumerated = set(names["anyOf"][0]["enum"])
    assert enumerated == {name for name in SETTINGS if not re.search(names["not"]["pattern"], name)}


def test_a_digest_pins_the_image() -> None:
    digest = "sha256:" + "0" * 64
    images = {
        container["image"]
        for spec in pods((f"image.digest={digest}", f"gpuImage.digest={digest}")).values()
        for container in spec["containers"]
    }
    assert images
    assert all(image.endswith(f"@{digest}") for image in images)


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(json.loads((CHART / "values.schema.json").read_text())["properties"]) == {*values, "global"}
