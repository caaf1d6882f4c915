"""The workloads by name, one a file."""

from benchmarks.workloads import digits_mlp, mnist_cnn
from benchmarks.workloads.base import Workload

WORKLOADS: dict[str, Workload] = {
    workload.name: workload for workload in (digits_mlp.WORKLOAD, mnist_cnn.WORKLOAD)
}
