from __future__ import annotations

import pytest

from tasks.queues import QUEUE_OF, Queue, TaskName, gpu_queue, is_gpu_queue, route


def test_infer_goes_to_the_node_whose_spool_holds_the_file() -> None:
    assert route(TaskName.INFER, ({"node": "gpu-host-7"},), {}, {}) == {"queue": "gpu.gpu-host-7"}


@pytest.mark.parametrize("args", [(), ({},), ({"node": ""},), ("text",), None])
def test_infer_without_a_node_goes_to_any_gpu_worker(args: object) -> None:
    assert route(TaskName.INFER, args, {}, {}) == {"queue": "gpu"}


@pytest.mark.parametrize("name", [name for name in TaskName if name is not TaskName.INFER])
def test_every_other_task_has_one_queue(name: TaskName) -> None:
    assert route(name.value, ({"node": "x"},), {}, {}) == {"queue": QUEUE_OF[name].value}


def test_celerys_own_tasks_get_no_queue() -> None:
    assert route("celery.backend_cleanup", (), {}, {}) is None


def test_is_gpu_queue_is_true_for_gpu_queues_alone() -> None:
    assert is_gpu_queue(gpu_queue("n1"))
    assert is_gpu_queue(Queue.GPU)
    assert not any(is_gpu_queue(queue) for queue in (Queue.IO, Queue.RESULTS, Queue.CONTROL, "gpus"))
